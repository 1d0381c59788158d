"""The command line: parses, calls, prints. No logic lives here."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from aurelius import __version__
from aurelius.errors import AureliusError, ModelError, RecipeError, RunError

STAGE_VERBS = {
    "corpus": ("corpus", "read, clean and split the stories"),
    "tokenizer": ("tokenizer", "train the tokenizer"),
    "pack": ("tokens", "encode the stories"),
    "train": ("training", "train the model"),
    "export": ("export", "write the model for stock runtimes"),
}
INSPECTIONS = ("corpus inspect", "tokenizer inspect")


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for misuse, 1 for the environment, 130 for Ctrl-C."""
    options = _parser().parse_args(_joined(sys.argv[1:] if arguments is None else arguments))
    try:
        options.act(options)
        return 0
    except AureliusError as error:
        print(f"aurelius: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of our output went away; nothing more to say to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        from aurelius.pipeline import storage_error

        print(f"aurelius: {storage_error(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("aurelius: interrupted; the same command goes on where it can", file=sys.stderr)
        return 130


def _joined(arguments: list[str]) -> list[str]:
    """Make one command of the two words that name it, as in ``corpus inspect``."""
    command = " ".join(arguments[:2])
    return [command, *arguments[2:]] if command in INSPECTIONS else arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "aurelius", description="From a corpus of short stories to a published tiny language model."
    )
    parser.add_argument("--version", action="version", version=f"aurelius {__version__}")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = verbs.add_parser("run", help="do every stage that is not done; goes on where it was stopped")
    _run_options(run)
    run.set_defaults(act=_run, until="export")
    for verb, (stage, text) in STAGE_VERBS.items():
        one = verbs.add_parser(verb, help=f"stop after one stage: {text}")
        _run_options(one)
        one.set_defaults(act=_export if verb == "export" else _run, until=stage)
        if verb == "export":
            one.add_argument(
                "--to",
                default="",
                metavar="TARGETS",
                help="huggingface (always), onnx, gguf; parted by commas",
            )
            one.add_argument(
                "--check", action="store_true", help="ask every runtime that is installed whether it agrees"
            )

    evaluate = verbs.add_parser("evaluate", help="measure a run, or any causal language model on a file")
    _run_options(evaluate, "a run folder or recipe; with --on also a Hugging Face folder or hf:owner/name")
    evaluate.add_argument("--on", metavar="FILE", help="stories to measure on, as they stand in the file")
    evaluate.add_argument("--column", help="the file's column or key with the text (default: text)")
    evaluate.add_argument("--json", action="store_true", help="print the figures as JSON")
    evaluate.set_defaults(act=_evaluate, until="evaluation")

    generate = verbs.add_parser("generate", help="write a story")
    generate.add_argument("model", help="a run folder, a Hugging Face folder, or hf:owner/name")
    generate.add_argument("prompt", nargs="?", default="", help="how the story begins")
    generate.add_argument("--temperature", type=float, help="0 takes the likeliest token (default: 0.5)")
    generate.add_argument("--min-p", type=float, help="cut below this share of the likeliest (default: 0.15)")
    generate.add_argument("--top-k", type=int, help="only the k likeliest (default: 0, all)")
    generate.add_argument("--top-p", type=float, help="only the likeliest of this probability (default: 1)")
    generate.add_argument("--max-tokens", dest="max_new_tokens", type=int, help="at most (default: 128)")
    generate.add_argument(
        "--parse-special", action="store_true", help="</s> and its like in the prompt are tokens, not text"
    )
    generate.add_argument("--seed", type=int, default=None, help="same seed, same story (default: random)")
    _device_option(generate)
    generate.set_defaults(act=_generate)

    publish = verbs.add_parser("publish", help="put a run on the Hugging Face hub; shows it first")
    publish.add_argument("run", metavar="RUN", help="a run folder whose training has ended")
    publish.add_argument("repo", metavar="OWNER/NAME", help="the model's name on the hub")
    publish.add_argument("--send", action="store_true", help="upload; without it nothing leaves this machine")
    publish.add_argument("--private", action="store_true", help="make the repository a private one")
    publish.add_argument("--collection", default="", metavar="SLUG", help="add the model to this collection")
    publish.add_argument("--license", default="", help="of the weights, as the hub spells it (apache-2.0)")
    publish.set_defaults(act=_publish)

    bring = verbs.add_parser("import", help="make a run of a Hugging Face Llama or a llama2.c .bin")
    bring.add_argument("source", metavar="FOLDER_OR_BIN")
    bring.add_argument("--out", metavar="FOLDER", help="the run folder (default: runs/NAME)")
    bring.add_argument("--tokenizer", metavar="FILE", help="llama2.c's (default: tokenizer.bin beside it)")
    _corpus_options(bring)
    _set_option(bring)
    bring.set_defaults(act=_import)

    watch = verbs.add_parser("watch", help="draw a run's training in the terminal while it goes on")
    watch.add_argument("run", metavar="RUN", help="a run folder")
    watch.add_argument("--once", action="store_true", help="draw what is there and end")
    watch.set_defaults(act=_watch)

    look = verbs.add_parser("corpus inspect", help="browse and search a run's stories, the dropped ones too")
    look.add_argument("run", metavar="RUN", help="a run folder")
    look.add_argument("--side", default="train", help="train (the default), valid or dropped")
    look.add_argument("--search", default="", metavar="WORDS", help="only stories that hold these words")
    look.add_argument("--reason", default="", help="only stories dropped for it; shows the dropped ones")
    look.add_argument("--count", type=int, default=5, help="stories shown at most (default: 5)")
    look.set_defaults(act=_inspect_corpus)
    cut = verbs.add_parser(
        "tokenizer inspect", help="show how a text or a file of stories is cut into tokens"
    )
    cut.add_argument("text", metavar="FILE_OR_TEXT", help="a file of stories, or a text")
    cut.add_argument(
        "--model", metavar="RUN", help="a run, model folder or tokenizer.json (default: newest run)"
    )
    cut.add_argument(
        "--column", default="text", help="the file's column or key with the text (default: text)"
    )
    cut.set_defaults(act=_inspect_tokenizer)

    verbs.add_parser("recipes", help="list the recipes").set_defaults(act=_recipes)
    show = verbs.add_parser("show", help="print a recipe in full, with parameters, time and memory")
    show.add_argument("recipe", help="a recipe's name or file, or a run folder")
    _set_option(show)
    _device_option(show)
    show.set_defaults(act=_show)
    verbs.add_parser("doctor", help="say what this machine offers").set_defaults(act=_doctor)
    return parser


def _run_options(
    parser: argparse.ArgumentParser, what: str = "a recipe's name or file, or a run folder"
) -> None:
    parser.add_argument("recipe", metavar="RUN_OR_RECIPE", help=what)
    parser.add_argument("--out", metavar="FOLDER", help="the run folder (default: runs/NAME)")
    _corpus_options(parser)
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes that clean the corpus (default: one per core)"
    )
    parser.add_argument(
        "--minutes", type=float, help="train for about this long instead of the recipe's steps"
    )
    parser.add_argument(
        "--update", action="store_true", help="redo stages that no longer match, keep the old"
    )
    parser.add_argument("--verify", action="store_true", help="hash every finished artifact again")
    parser.add_argument(
        "--auto-batch",
        action="store_true",
        help="cut a training step into micro-batches until it fits the memory",
    )
    parser.add_argument(
        "--track", metavar="NAME", action="append", default=[], help="tensorboard, trackio or wandb"
    )
    _set_option(parser)
    _device_option(parser)


def _corpus_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--corpus",
        metavar="SOURCE",
        action="append",
        help="a file, folder or 'pattern*' of stories, hf:owner/dataset/file or storyteller; repeatable",
    )
    parser.add_argument(
        "--encoding-errors",
        choices=("strict", "replace"),
        help="bytes that are not UTF-8 refuse a file (the default), or become U+FFFD",
    )


def _set_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="replace a value of the recipe"
    )


def _device_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    from aurelius.recipe import parse_override

    found = dict(parse_override(text) for text in options.set)
    if getattr(options, "corpus", None) is not None:
        found["corpus.source"] = options.corpus if len(options.corpus) > 1 else options.corpus[0]
    if getattr(options, "encoding_errors", None) is not None:
        found["corpus.encoding_errors"] = options.encoding_errors
    return found


def _progress(stream: Any = None):
    from rich.console import Console

    from aurelius.console import attach
    from aurelius.progress import SILENT

    return attach(Console(file=stream)) if _speaks() else SILENT


def _speaks() -> bool:
    """Whether this process prints; of several that torchrun started, the first does."""
    return os.environ.get("RANK", "0") == "0"


def _export(options: argparse.Namespace) -> None:
    from aurelius.pipeline import RECIPE, require_trained

    if (Path(options.recipe) / RECIPE).is_file():  # a recipe's name means the whole way
        require_trained(Path(options.recipe))
    folder = _run(options)
    if not options.check or not _speaks():
        return
    from rich.console import Console

    from aurelius.console import check_table
    from aurelius.export.check import check

    rows, missing = check(folder, _progress(sys.stderr))
    Console(width=None if sys.stdout.isatty() else 170).print(check_table(rows))
    for reason in missing:
        print(f"not asked: {reason}")
    if problems := [f"{row.runtime} {row.kind}: {text}" for row in rows for text in row.problems]:
        raise ModelError(f"{len(problems)} disagreements: {'; '.join(problems)}")


def _import(options: argparse.Namespace) -> None:
    from aurelius import importing

    out, tokenizer = (Path(name) if name else None for name in (options.out, options.tokenizer))
    run = importing.bring(Path(options.source), out, tokenizer, _overrides(options), _progress())
    print(f"{run} is a run")
    print(f"measure it      aurelius evaluate {run} --on FILE")
    print(f"train it on     aurelius run {run} --update --set training.steps=2000 --corpus FILE")
    print(f"export it       aurelius export {run}")


def _publish(options: argparse.Namespace) -> None:
    from aurelius.export import hub
    from aurelius.pipeline import require_trained, run

    progress, folder = _progress(sys.stderr), Path(options.run)
    require_trained(folder)
    run(folder, to=("onnx", "gguf"), progress=progress)
    found = hub.prepare(folder, options.repo, options.license, progress)
    for name, size in found.files.items():
        print(f"{size / 1e6:9.3f} MB  {name}")
    if options.send:
        print(f"published: {hub.send(found, options.private, options.collection, progress)}")
        return
    print(f"nothing was sent; read {found.folder / 'README.md'}, then add --send")
    if not options.license:
        print("no licence is stated; --license apache-2.0, for one, states it")


def _run(options: argparse.Namespace) -> Path:
    """Run, tell what was done, and return the run's folder."""
    from aurelius.console import duration
    from aurelius.pipeline import run

    started = time.monotonic()
    result = run(
        options.recipe,
        options.out,
        overrides=_overrides(options),
        minutes=options.minutes,
        until=options.until,
        to=[name for name in getattr(options, "to", "").split(",") if name],
        update=options.update,
        verify=options.verify,
        device=options.device,
        auto_batch=options.auto_batch,
        track=options.track,
        workers=options.workers or os.cpu_count() or 1,
        progress=_progress(),
    )
    if not _speaks():
        return result.folder
    taken = duration(time.monotonic() - started)
    if not result.done:
        print(f"nothing to do: {result.folder} is up to date ({taken})")
    if options.until in ("export", "evaluation"):
        _summary(result.folder, options.until == "export")
    elif result.done:
        print(f"{result.folder / options.until} is there ({taken})")
    return result.folder


def _summary(run: Path, exported: bool) -> None:
    from aurelius.artifacts import read_json

    report = read_json(run / "evaluation" / "report.json")
    figures = report["documentwise"]
    print(f"\n{report['samples'][0]['text']}\n")
    print(
        f"bits per byte   {figures['bits_per_byte']:.4f} ± {figures['standard_error']:.4f} on "
        f"{figures['documents']:,} held-out stories of this corpus"
    )
    print(f"parameters      {report['parameters']:,}, trained on {report['trained']['tokens']:,} tokens")
    print(f"run             {run}")
    print(f"figures         {run / 'evaluation' / 'report.json'}")
    if exported:
        print(f"model           {run / 'export' / 'huggingface'}")
    print(f'another story   aurelius generate {run} "Once upon a time"')


def _evaluate(options: argparse.Namespace) -> None:
    unused = (
        ("column", "json")
        if options.on is None
        else ("out", "corpus", "minutes", "set", "update", "verify", "auto_batch", "track", "workers")
    )
    for name in unused:
        if getattr(options, name):
            word = "without" if options.on is None else "with"
            raise RecipeError(f"--{name.replace('_', '-')} has no meaning {word} --on FILE")
    if options.on is None:
        _run(options)
        return
    import json

    from aurelius.corpus.formats import Reading
    from aurelius.corpus.sources import open_path
    from aurelius.evaluation import measure, packed
    from aurelius.lm import open_model

    reading = Reading(options.column or "text", options.encoding_errors or "strict")
    documents = [text for text in open_path(Path(options.on), reading).stories if text]
    model = open_model(options.recipe, options.device)
    figures = {"model": model.name, "on": options.on, "parameters": model.parameters}
    progress = _progress(sys.stderr)
    figures |= measure(model, documents, progress).as_json()
    if blocks := packed(model, documents, progress):
        figures |= {f"packed_{name}": value for name, value in blocks.as_json().items()}
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name, value in figures.items():
        text = (
            f"{value:,}" if isinstance(value, int) else f"{value:.4f}" if isinstance(value, float) else value
        )
        print(f"{name.replace('_', ' '):34}{text}")


def _generate(options: argparse.Namespace) -> None:
    import random

    from pydantic import ValidationError

    from aurelius.generation import Sampling, generate
    from aurelius.lm import open_model
    from aurelius.tokenizer import check_text

    check_text(options.prompt)
    given = {k: v for k in Sampling.model_fields if (v := getattr(options, k)) is not None}
    try:
        Sampling(**given)  # before the model is loaded
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_new_", "_").replace("_", "-")
        raise RecipeError(f"--{option} {first['input']}: {first['msg']}") from None
    seed = random.randrange(2**31) if options.seed is None else options.seed
    model = open_model(options.model, options.device)
    sampling = model.sampling.model_copy(update=given)
    print(options.prompt.rstrip(), end="", flush=True)
    for piece in generate(model, options.prompt, sampling, seed, options.parse_special):
        print(piece, end="", flush=True)
    print()


def _watch(options: argparse.Namespace) -> None:
    from rich.console import Console

    from aurelius.watch import watch

    watch(Path(options.run), Console(), once=options.once)


def _inspect_corpus(options: argparse.Namespace) -> None:
    from itertools import islice

    from aurelius.corpus.inspect import search

    side = "dropped" if options.reason else options.side
    shown = 0
    for story in islice(search(Path(options.run), side, options.search, options.reason), options.count):
        alike = f", similarity {story.similarity:.3f}" if story.similarity else ""
        why = f": {story.reason}{alike}" if story.reason else ""
        print(f"--- {story.side} {story.number}{why}\n{story.text}\n")
        shown += 1
    print(
        f"{shown} stories shown; --count shows more" if shown == options.count else f"{shown} stories found"
    )


def _inspect_tokenizer(options: argparse.Namespace) -> None:
    from rich.console import Console

    from aurelius.console import cut_table
    from aurelius.corpus.formats import Reading
    from aurelius.corpus.sources import open_path
    from aurelius.tokenizer.inspect import inspect

    model = Path(options.model) if options.model else _newest_run()
    file = Path(options.text)
    is_file = len(options.text) < 256 and file.is_file()
    cut = inspect(model, open_path(file, Reading(options.column)).stories if is_file else [options.text])
    for part in cut_table(cut, str(model)):
        Console().print(part)


def _newest_run() -> Path:
    found = sorted(Path("runs").glob("*/tokenizer/tokenizer.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise RunError("there is no run with a tokenizer in runs/; name one with --model")
    return found[-1].parents[1]


def _recipes(options: argparse.Namespace) -> None:
    from aurelius import recipes
    from aurelius.recipe import Recipe

    for name in recipes.NAMES:
        print(f"{name:16}{Recipe.load(name).description}")


def _show(options: argparse.Namespace) -> None:
    from aurelius.console import duration
    from aurelius.recipe import Recipe
    from aurelius.training.budget import memory_bytes, seconds_per_step

    recipe = Recipe.load(options.recipe, _overrides(options))
    print(recipe.to_toml())
    steps = recipe.training.steps
    per_step = seconds_per_step(recipe, options.device)
    print(f"# parameters        {recipe.parameters:,}")
    print(f"# tokens a step     {recipe.tokens_per_step:,}")
    print(f"# total tokens      {recipe.tokens_per_step * steps:,}")
    print(
        f"# time here         about {duration(per_step * steps)} of training "
        f"({recipe.tokens_per_step / per_step:,.0f} tokens/s, timed just now)"
    )
    print(f"# memory            about {memory_bytes(recipe) / 2**30:.1f} GiB in training")


def _doctor(options: argparse.Namespace) -> None:
    from aurelius.doctor import findings

    for name, text in findings():
        print(f"{name:14}{text}")
