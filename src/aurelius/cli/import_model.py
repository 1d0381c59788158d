"""``aurelius import``: a model from elsewhere as a run."""

import argparse
from pathlib import Path

from aurelius.cli import options as common
from aurelius.cli.command import Command
from aurelius.errors import suggest


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="FOLDER_OR_BIN")
    parser.add_argument("--out", metavar="FOLDER", help="the run folder (default: runs/NAME)")
    parser.add_argument(
        "--tokenizer", metavar="FILE", help="llama2.c's (default: tokenizer.bin in the same folder)"
    )
    common.add_corpus_options(parser)
    common.add_set_option(parser)


def _act(options: argparse.Namespace) -> None:
    from aurelius.importing.import_model import import_model

    out, tokenizer = (Path(name) if name else None for name in (options.out, options.tokenizer))
    overrides = common.overrides(options)
    run = import_model(Path(options.source), out, tokenizer, overrides, common.reporter(options))
    print(f"{run} is a run now")
    print(f"measure it      {suggest('evaluate', run, '--on', 'FILE')}")
    more = ("--update", "--set", "training.steps=2000", "--corpus", "FILE")
    print(f"train it on     {suggest('run', run, *more)}")
    print(f"export it       {suggest('export', run)}")


EXAMPLES = """\
aurelius import path/to/llama --out runs/theirs
aurelius import stories260K.bin --tokenizer tok512.bin"""
COMMANDS = (
    Command(
        "import", "turn a Hugging Face Llama or a llama2.c .bin into a run", _add_arguments, _act, EXAMPLES
    ),
)
