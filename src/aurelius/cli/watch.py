"""``aurelius watch``: a run's training, drawn while it goes on."""

import argparse

from aurelius.cli.command import Command


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder, or its name in runs/")
    parser.add_argument("--once", action="store_true", help="draw what is there and exit")


def _act(options: argparse.Namespace) -> None:
    from rich.console import Console

    from aurelius.cli.curves import watch
    from aurelius.pipeline.run_folder import find_run

    watch(find_run(options.run), Console(), once=options.once)


COMMANDS = (
    Command(
        "watch",
        "draw a run's training in the terminal, live",
        _add_arguments,
        _act,
        "aurelius watch mine\naurelius watch mine --once",
    ),
)
