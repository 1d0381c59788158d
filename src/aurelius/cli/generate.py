"""``aurelius generate``: a story as the model writes it, or many into a file."""

import argparse
import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurelius.cli import options as common
from aurelius.cli.command import Command
from aurelius.errors import RecipeError

if TYPE_CHECKING:
    from aurelius.inference.generate import Story
    from aurelius.inference.language_model import LanguageModel


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", help="a run (its folder, or its name in runs/), a Hugging Face folder, or hf:owner/name"
    )
    parser.add_argument(
        "prompt", nargs="?", default="", help="how the story begins; its last word is complete"
    )
    parser.add_argument(
        "--continue-word", action="store_true", help="the last word of the prompt may go on: 'the dra'"
    )
    parser.add_argument(
        "--parse-special",
        action="store_true",
        help="</s> and other special tokens in the prompt are tokens instead of text",
    )
    parser.add_argument("--seed", type=int, help="same seed, same story (default: random; with --count, 0)")
    common.add_device_option(parser, "where a model that is not a plain Llama runs")
    group = parser.add_argument_group("sampling (by default as the model's settings say)")
    group.add_argument("--temperature", type=float, help="0 takes the likeliest token")
    group.add_argument("--min-p", type=float, help="exclude tokens below this share of the likeliest")
    group.add_argument("--top-k", type=int, help="sample from the k likeliest tokens; 0: from all")
    group.add_argument(
        "--top-p", type=float, help="sample from the likeliest tokens of this total probability"
    )
    group.add_argument(
        "--max-tokens",
        dest="max_new_tokens",
        type=int,
        help="most tokens to write (default: what the context holds); beyond it, the last half is continued",
    )
    group = parser.add_argument_group("many stories")
    group.add_argument(
        "--count", type=int, metavar="N", help="stories for each prompt, with seeds counted from --seed"
    )
    group.add_argument("--prompts", metavar="FILE", help="a prompt a line; - reads standard input")
    group.add_argument(
        "--out", metavar="FILE", help="write them as JSON Lines; continues an interrupted file"
    )
    group.add_argument(
        "--workers", type=int, metavar="N", help="processes that write (default: one per core)"
    )
    group = parser.add_argument_group("a story without end")
    group.add_argument(
        "--endless",
        type=int,
        metavar="TOKENS",
        help="write so many, and see only what comes before every text and a rolling window of the last",
    )


def _act(options: argparse.Namespace) -> None:
    from aurelius.inference.open_model import open_model
    from aurelius.tokenizer.load import check_text

    check_text(options.prompt)
    changes = _sampling(options)
    many = options.count is not None or options.prompts is not None or options.out is not None
    if many and options.endless:
        raise RecipeError("--endless writes one story; leave out --count, --prompts and --out")
    if many:
        return _write_many(options, changes)
    if options.endless is not None and options.max_new_tokens is not None:
        raise RecipeError("--endless and --max-tokens both say how many tokens to write; use one of them")
    if options.endless is not None and options.endless < 1:
        raise RecipeError(f"--endless {options.endless}: it is the number of tokens to write, at least 1")
    model = open_model(options.model, options.device)
    story = _begin(model, options, changes)
    reporter = common.reporter(options)
    if options.seed is None:
        reporter.note(f"seed {story.seed}")
    print(options.prompt.rstrip(), end="", flush=True)
    for piece in story:
        print(piece, end="", flush=True)
    print()
    if not story.ended and not options.endless:
        more = f"--max-tokens {2 * story.tokens} lets it go on"
        reporter.note(f"stopped at the limit of {story.tokens:,} tokens; {more}")


def _begin(model: "LanguageModel", options: argparse.Namespace, changes: dict[str, Any]) -> "Story":
    from aurelius.inference.endless import endless
    from aurelius.inference.generate import generate

    how = {"parse_special": options.parse_special, "continue_word": options.continue_word}
    if options.endless:
        return endless(model, options.endless, options.prompt, seed=options.seed, **how, **changes)
    return generate(model, options.prompt, seed=options.seed, **how, **changes)


def _sampling(options: argparse.Namespace) -> dict[str, Any]:
    """Return the sampling that the options replace, checked before a model is loaded."""
    from pydantic import ValidationError

    from aurelius.config.settings import GenerationSettings as Sampling

    changes = {k: v for k in Sampling.model_fields if (v := getattr(options, k)) is not None}
    try:
        Sampling(**changes)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_new_", "_").replace("_", "-")
        raise RecipeError(f"--{option} {first['input']}: {first['msg']}") from None
    return changes


def _write_many(options: argparse.Namespace, changes: dict[str, Any]) -> None:
    from aurelius.inference.open_model import open_model
    from aurelius.inference.stories import stories
    from aurelius.inference.story_file import write_story_file

    prompts, count, seed = _prompts(options), options.count or 1, options.seed or 0
    if options.count is not None and options.count < 1:
        raise RecipeError(f"--count {options.count}: it is the number of stories, at least 1")
    if options.workers is not None and options.workers < 1:
        raise RecipeError(f"--workers {options.workers}: at least one process has to write")
    workers = (os.cpu_count() or 1) if options.workers is None else options.workers
    how = {"parse_special": options.parse_special, "continue_word": options.continue_word, **changes}

    def write(skip: set[int]) -> Any:
        return stories(
            options.model, count, prompts, seed, workers=workers, device=options.device, skip=skip, **how
        )

    reporter = common.reporter(options)
    if options.out is None:
        for story in write(set()):
            print(story.text, end="\n\n", flush=True)
        return
    model = open_model(options.model, options.device)
    settings = {
        "model": _fingerprint(model),
        "sampling": model.sampling.model_copy(update=changes).model_dump(),
        "prompts": _digest(*(prompt.encode() + b"\0" for prompt in prompts)),
        "count": count,
        "seed": seed,
        "parse_special": options.parse_special,
        "continue_word": options.continue_word,
    }
    written = write_story_file(Path(options.out), settings, count * len(prompts), write, reporter)
    ended = sum(story.ended for story in written)
    print(
        f"{options.out}: {len(written):,} stories; the model ended {ended:,} of them, "
        f"the limit {len(written) - ended:,}"
    )


def _fingerprint(model: "LanguageModel") -> str:
    """Return a digest of a Llama's weights and tokenizer; of another model, its name."""
    from aurelius.inference.llama_model import LlamaModel

    if not isinstance(model, LlamaModel):
        return model.name
    weights = (weight.tobytes() for _, weight in sorted(model.weights.items()))
    return _digest(model.tokenizer.to_str().encode(), *weights)


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]


def _prompts(options: argparse.Namespace) -> list[str]:
    if options.prompts is None:
        return [options.prompt]
    if options.prompt:
        raise RecipeError("a prompt and --prompts were both given; use one of them")
    try:
        content = sys.stdin.buffer.read() if options.prompts == "-" else Path(options.prompts).read_bytes()
        text = content.decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        raise RecipeError(f"--prompts {options.prompts}: there is no such file") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"--prompts {options.prompts}: byte {error.start} is not UTF-8") from None
    if not (prompts := [line for line in text.split("\n") if line.strip()]):
        raise RecipeError(f"--prompts {options.prompts}: there is no prompt in it; write one a line")
    return prompts


EXAMPLES = """\
aurelius generate mine                                 a story by the run in runs/mine
aurelius generate mine "Once upon a time" --seed 1     the same story each time
aurelius generate mine --count 1000 --out stories.jsonl
aurelius generate path/to/llama "One day," --temperature 0.8"""
COMMANDS = (Command("generate", "write a story, or many", _add_arguments, _act, EXAMPLES),)
