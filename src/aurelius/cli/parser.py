"""What can be typed: the commands and their options."""

import argparse

from aurelius import __version__

STAGE_VERBS = {
    "corpus": ("corpus", "read, clean and split the stories"),
    "tokenizer": ("tokenizer", "train the tokenizer"),
    "pack": ("tokens", "encode the stories"),
    "train": ("training", "train the model"),
    "export": ("export", "write the model for stock runtimes"),
}
INSPECTIONS = ("corpus inspect", "tokenizer inspect")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse a command line; leaves with a message where it makes no sense."""
    return parser().parse_args(_joined(arguments))


def _joined(arguments: list[str]) -> list[str]:
    """Make one command of the two words that name it, as in ``corpus inspect``."""
    command = " ".join(arguments[:2])
    return [command, *arguments[2:]] if command in INSPECTIONS else arguments


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; ``act`` is what the command does."""
    parser = argparse.ArgumentParser(
        "aurelius", description="From a corpus of short stories to a published tiny language model."
    )
    parser.add_argument("--version", action="version", version=f"aurelius {__version__}")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = verbs.add_parser("run", help="do every stage that is not done; goes on where it was stopped")
    _run_options(run)
    run.set_defaults(act="run", until="export")
    for verb, (stage, text) in STAGE_VERBS.items():
        one = verbs.add_parser(verb, help=f"stop after one stage: {text}")
        _run_options(one)
        one.set_defaults(act="export" if verb == "export" else "run", until=stage)
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
    evaluate.set_defaults(act="evaluate", until="evaluation")

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
    generate.set_defaults(act="generate")

    publish = verbs.add_parser("publish", help="put a run on the Hugging Face hub; shows it first")
    publish.add_argument("run", metavar="RUN", help="a run folder whose training has ended")
    publish.add_argument("repo", metavar="OWNER/NAME", help="the model's name on the hub")
    publish.add_argument("--send", action="store_true", help="upload; without it nothing leaves this machine")
    publish.add_argument("--private", action="store_true", help="make the repository a private one")
    publish.add_argument("--collection", default="", metavar="SLUG", help="add the model to this collection")
    publish.add_argument("--license", default="", help="of the weights, as the hub spells it (apache-2.0)")
    publish.set_defaults(act="publish")

    bring = verbs.add_parser("import", help="make a run of a Hugging Face Llama or a llama2.c .bin")
    bring.add_argument("source", metavar="FOLDER_OR_BIN")
    bring.add_argument("--out", metavar="FOLDER", help="the run folder (default: runs/NAME)")
    bring.add_argument("--tokenizer", metavar="FILE", help="llama2.c's (default: tokenizer.bin beside it)")
    _corpus_options(bring)
    _set_option(bring)
    bring.set_defaults(act="import")

    watch = verbs.add_parser("watch", help="draw a run's training in the terminal while it goes on")
    watch.add_argument("run", metavar="RUN", help="a run folder")
    watch.add_argument("--once", action="store_true", help="draw what is there and end")
    watch.set_defaults(act="watch")

    look = verbs.add_parser("corpus inspect", help="browse and search a run's stories, the dropped ones too")
    look.add_argument("run", metavar="RUN", help="a run folder")
    look.add_argument("--side", default="train", help="train (the default), valid or dropped")
    look.add_argument("--search", default="", metavar="WORDS", help="only stories that hold these words")
    look.add_argument("--reason", default="", help="only stories dropped for it; shows the dropped ones")
    look.add_argument("--count", type=int, default=5, help="stories shown at most (default: 5)")
    look.add_argument(
        "--from", type=int, default=0, dest="begin", metavar="N", help="pass over the first N that fit"
    )
    look.set_defaults(act="inspect_corpus")
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
    _encoding_option(cut)
    cut.set_defaults(act="inspect_tokenizer")

    verbs.add_parser("recipes", help="list the recipes").set_defaults(act="recipes")
    show = verbs.add_parser("show", help="print a recipe in full, with parameters, time and memory")
    show.add_argument("recipe", help="a recipe's name or file, or a run folder")
    _set_option(show)
    _device_option(show)
    show.set_defaults(act="show")
    verbs.add_parser("doctor", help="say what this machine offers").set_defaults(act="doctor")
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
    _encoding_option(parser)


def _encoding_option(parser: argparse.ArgumentParser) -> None:
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
