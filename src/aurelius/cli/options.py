"""Options that several commands share, and what they mean."""

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from aurelius.errors import RunError, suggest
from aurelius.progress import SILENT, Progress

if TYPE_CHECKING:
    from aurelius.corpus.readers.reader import ReadOptions

RUN_OR_RECIPE = "a recipe's name or file, or a run: its folder, or its name in runs/"


def add_run_options(
    parser: argparse.ArgumentParser, what: str = RUN_OR_RECIPE, default: str | None = None
) -> None:
    """Add the options of every command that brings a run up to date, training included."""
    add_stage_options(parser, what, default)
    group = parser.add_argument_group("training")
    group.add_argument(
        "--minutes", type=float, help="how long the whole run may take, instead of the recipe's steps"
    )
    group.add_argument(
        "--more-minutes", type=float, metavar="MINUTES", help="continue a finished run for this long"
    )
    group.add_argument(
        "--auto-batch",
        action="store_true",
        help="split training steps into micro-batches until they fit in memory",
    )
    group.add_argument(
        "--track", metavar="NAME", action="append", default=[], help="tensorboard, trackio or wandb"
    )
    add_device_option(group)


def add_stage_options(
    parser: argparse.ArgumentParser, what: str = RUN_OR_RECIPE, default: str | None = None
) -> None:
    """Add the options of the stages before training; with a ``default``, the recipe may be left out."""
    optional: dict[str, Any] = {"nargs": "?", "default": default} if default else {}
    parser.add_argument("recipe", metavar="RUN_OR_RECIPE", help=what, **optional)
    add_json_option(parser)
    parser.add_argument("--out", metavar="FOLDER", help="the run folder (default: runs/NAME)")
    add_set_option(parser)
    parser.add_argument(
        "--update", action="store_true", help="redo stages that no longer match; the old ones are kept"
    )
    parser.add_argument("--verify", action="store_true", help="hash every finished artifact again")
    parser.add_argument(
        "--fresh", action="store_true", help="share no stage with a run in the same parent folder"
    )
    group = parser.add_argument_group("corpus")
    add_corpus_options(group)
    group.add_argument(
        "--workers", type=int, metavar="N", help="processes that clean the corpus (default: one per core)"
    )


def add_corpus_options(parser: argparse._ActionsContainer) -> None:
    """Add ``--corpus`` and what belongs to it."""
    parser.add_argument(
        "--corpus",
        metavar="SOURCE",
        action="append",
        help="a file, folder or 'pattern*' of stories, hf:owner/dataset/file or storyteller; repeatable",
    )
    add_reading_options(parser)


def add_reading_options(parser: argparse._ActionsContainer) -> None:
    """Add ``--separator`` and ``--encoding-errors``."""
    parser.add_argument(
        "--separator",
        metavar="TEXT",
        help="what separates stories in a text: line, blank, file, or any text such as --- (default: auto)",
    )
    parser.add_argument(
        "--encoding-errors",
        choices=("strict", "replace"),
        help="bytes that are not UTF-8: refuse the file (strict, the default) or make them U+FFFD",
    )


def add_set_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--set``."""
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="replace a value of the recipe"
    )


def add_device_option(parser: argparse._ActionsContainer, what: str = "") -> None:
    """Add ``--device``; ``what`` says what runs there, where it is not everything."""
    choices = "auto, cpu, cuda or mps (default: auto)"
    parser.add_argument("--device", default="auto", help=f"{what}: {choices}" if what else choices)


def add_json_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def print_json(value: Any) -> None:
    """Print a result for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def add_quiet_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--quiet``."""
    parser.add_argument("-q", "--quiet", action="store_true", help="print results and errors only")


def overrides(options: argparse.Namespace) -> dict[str, Any]:
    """Return the recipe's values that the options replace, by dotted key."""
    from aurelius.config.recipe import parse_override

    values = dict(parse_override(text) for text in options.set)
    if getattr(options, "corpus", None) is not None:
        values["corpus.source"] = options.corpus if len(options.corpus) > 1 else options.corpus[0]
    for name in ("separator", "encoding_errors"):
        if getattr(options, name, None) is not None:
            values[f"corpus.{name}"] = getattr(options, name)
    return values


def reporter(options: argparse.Namespace) -> Progress:
    """Return what reports progress on stderr; silent with ``--quiet``, and in all processes but the first."""
    if options.quiet or not prints():
        return SILENT
    from aurelius.progress_bar import on_stderr

    return on_stderr()


def prints() -> bool:
    """Whether this process prints; of several that torchrun started, only the first does."""
    return os.environ.get("RANK", "0") == "0"


def process_count() -> int:
    """Return how many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def read_options(options: argparse.Namespace) -> "ReadOptions":
    """Return how files named on the command line are read."""
    from aurelius.corpus.readers.reader import ReadOptions

    return ReadOptions(
        options.column or "text", options.encoding_errors or "strict", options.separator or "auto"
    )


def run_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `aurelius.run` that the options stand for."""
    training = {
        name: getattr(options, name)
        for name in ("minutes", "more_minutes", "auto_batch", "track", "device")
        if hasattr(options, name)
    }
    return training | {
        "recipe": options.recipe,
        "out": options.out,
        "overrides": overrides(options),
        "update": options.update,
        "verify": options.verify,
        "fresh": options.fresh,
        "workers": (os.cpu_count() or 1) if options.workers is None else options.workers,
    }


def refuse_torchrun(command: str) -> None:
    """Refuse a command other than ``train`` under torchrun, with the commands to use instead.

    Raises:
        RunError: torchrun started several processes.
    """
    if process_count() > 1 and command != "train":
        if not prints():
            sys.exit(RunError.exit_code)
        raise RunError(
            f"torchrun only trains, so it cannot run '{suggest(*command.split())}'. Use: "
            "aurelius pack RECIPE --out RUN; "
            "then torchrun … -m aurelius train RUN; then aurelius run RUN"
        )
