"""``aurelius open``: the story page of a run, in the browser."""

import argparse
import webbrowser

from aurelius.cli import options as common
from aurelius.cli.command import Command


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a trained run: its folder, or its name in runs/")
    add_force_option(parser)
    parser.add_argument("--no-browser", action="store_true", help="only write the page and print its path")


def add_force_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--force``."""
    parser.add_argument(
        "--force", action="store_true", help="write a page for more than ten million parameters, too"
    )


def _act(options: argparse.Namespace) -> None:
    from aurelius.export.page import FILE
    from aurelius.pipeline.run import require_trained, run
    from aurelius.pipeline.run_folder import find_run
    from aurelius.run_paths import RunPaths

    folder = find_run(options.run)
    require_trained(RunPaths(folder))
    overrides = {"export.large_page": True} if options.force else {}
    done = run(folder, to=("page",), overrides=overrides, progress=common.reporter(options))
    page = done.folder / "export/page" / FILE
    print(page)
    if not options.no_browser and not webbrowser.open(page.absolute().as_uri()):
        common.reporter(options).note("no browser could be opened; open the file in one yourself")


EXAMPLES = """\
aurelius open mine                      tell stories with the run in runs/mine, in the browser
aurelius open mine --no-browser         write the page, to mail it or put it on a static host"""
COMMANDS = (Command("open", "write a run's story page and open it", _add_arguments, _act, EXAMPLES),)
