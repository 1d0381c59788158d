"""``aurelius runs``: the runs of a folder."""

import argparse
import sys
from pathlib import Path

from aurelius.cli import options as common
from aurelius.cli.command import Command


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", nargs="?", default="runs", help="default: runs")
    common.add_json_option(parser)


def _act(options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from aurelius.pipeline.overview import overviews
    from aurelius.progress_bar import duration

    found = list(overviews(Path(options.folder)))
    if options.json:
        common.print_json([run.as_json() for run in found])
        return
    if not found:
        print(f"there are no runs in {options.folder}; aurelius run nano makes one")
        return
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for name in ("name", "corpus"):
        table.add_column(name)
    for name in ("parameters", "tokens", "bits/byte"):
        table.add_column(name, justify="right")
    for name in ("state", "last change"):
        table.add_column(name)
    for run in found:
        table.add_row(
            Text(run.name),
            Text(run.corpus),
            f"{run.parameters:,}",
            f"{run.tokens:,}",
            f"{run.bits_per_byte:.4f}" if run.bits_per_byte is not None else "–",
            Text(run.state),
            f"{duration(run.age)} ago",
        )
    Console(width=None if sys.stdout.isatty() else 150).print(table)


COMMANDS = (
    Command("runs", "list the runs in runs/", _add_arguments, _act, "aurelius runs\naurelius runs --json"),
)
