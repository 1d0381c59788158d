"""``aurelius compare``: models side by side, on the same documents."""

import argparse
import sys
from pathlib import Path

from aurelius.cli import options as common
from aurelius.cli.command import Command


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        metavar="RUN",
        nargs="+",
        help="runs, Hugging Face folders or hf:owner/name; the first is what the others are compared with",
    )
    parser.add_argument(
        "--on", metavar="FILE", help="stories to measure on (default: those the runs held out)"
    )
    parser.add_argument("--column", help="column or key of the file with the text (default: text)")
    common.add_reading_options(parser)
    parser.add_argument("--html", metavar="FILE", help="also write a page with the learning curves")
    common.add_json_option(parser)
    common.add_device_option(parser)


def _act(options: argparse.Namespace) -> None:
    from rich.console import Console

    from aurelius.cli.tables import comparison_tables
    from aurelius.files import write_bytes
    from aurelius.reporting.compare import compare
    from aurelius.reporting.page import page

    found = compare(
        options.models,
        options.on,
        options=common.read_options(options),
        device=options.device,
        progress=common.reporter(options),
    )
    if options.html:
        write_bytes(Path(options.html), page(found).encode())
    if options.json:
        common.print_json(found.as_json())
        return
    console = Console(width=None if sys.stdout.isatty() else 120)
    for part in comparison_tables(found, console.width):
        console.print(part)
    if options.html:
        print(f"page   {options.html}")


EXAMPLES = """\
aurelius compare nano mine                             two runs, on the stories that both held out
aurelius compare nano path/to/model --on held-out.txt  a run and any causal language model
aurelius compare nano-0 nano-1 mine-0 mine-1           two recipes with two seeds each"""
COMMANDS = (
    Command(
        "compare",
        "measure models on the same stories: figures, and differences with intervals",
        _add_arguments,
        _act,
        EXAMPLES,
    ),
)
