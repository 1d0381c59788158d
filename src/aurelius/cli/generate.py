"""``aurelius generate``: a story, as the model writes it."""

import argparse
import random

from aurelius.cli import options as common
from aurelius.cli.command import Command
from aurelius.errors import RecipeError


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", help="a run (its folder, or its name in runs/), a Hugging Face folder, or hf:owner/name"
    )
    parser.add_argument("prompt", nargs="?", default="", help="how the story begins")
    parser.add_argument("--temperature", type=float, help="0 takes the likeliest token (default: 0.5)")
    parser.add_argument(
        "--min-p", type=float, help="exclude tokens below this share of the likeliest (default: 0.15)"
    )
    parser.add_argument("--top-k", type=int, help="sample from the k likeliest tokens (default: 0, from all)")
    parser.add_argument(
        "--top-p", type=float, help="sample from the likeliest tokens of this total probability (default: 1)"
    )
    parser.add_argument("--max-tokens", dest="max_new_tokens", type=int, help="at most (default: 128)")
    parser.add_argument(
        "--parse-special",
        action="store_true",
        help="</s> and other special tokens in the prompt are tokens instead of text",
    )
    parser.add_argument("--seed", type=int, default=None, help="same seed, same story (default: random)")
    common.add_device_option(parser)


def _act(options: argparse.Namespace) -> None:
    from pydantic import ValidationError

    from aurelius.inference.generate import generate
    from aurelius.inference.open_model import open_model
    from aurelius.inference.sampling import Sampling
    from aurelius.tokenizer.load import check_text

    check_text(options.prompt)
    changes = {k: v for k in Sampling.model_fields if (v := getattr(options, k)) is not None}
    try:
        Sampling(**changes)  # before the model is loaded
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_new_", "_").replace("_", "-")
        raise RecipeError(f"--{option} {first['input']}: {first['msg']}") from None
    seed = random.randrange(2**31) if options.seed is None else options.seed
    model = open_model(options.model, options.device)
    if options.seed is None:
        common.reporter(options).note(f"seed {seed}")
    sampling = model.sampling.model_copy(update=changes)
    print(options.prompt.rstrip(), end="", flush=True)
    for piece in generate(model, options.prompt, sampling, seed, options.parse_special):
        print(piece, end="", flush=True)
    print()


EXAMPLES = """\
aurelius generate mine                                 a story by the run in runs/mine
aurelius generate mine "Once upon a time" --seed 1     the same story each time
aurelius generate path/to/llama "One day," --temperature 0.8"""
COMMANDS = (Command("generate", "write a story", _add_arguments, _act, EXAMPLES),)
