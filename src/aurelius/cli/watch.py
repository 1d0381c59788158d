"""``aurelius watch``: a run's training, drawn while it goes on."""

import argparse

from aurelius.cli import options as common
from aurelius.cli.command import Command


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder, or its name in runs/")
    parser.add_argument("--against", metavar="RUN", help="an earlier run, to draw with it")
    parser.add_argument("--once", action="store_true", help="draw what is there and exit")
    common.add_json_option(parser)


def _act(options: argparse.Namespace) -> None:
    from rich.console import Console

    from aurelius.cli.curves import figures, state, watch
    from aurelius.pipeline.run_folder import find_run
    from aurelius.run_paths import RunPaths

    run = find_run(options.run)
    if options.json:
        latest = {key: value for line in figures(run) for key, value in line.items()}
        common.print_json({"run": str(run), "state": state(RunPaths(run)), **latest})
        return
    against = find_run(options.against) if options.against else None
    watch(run, Console(), against=against, once=options.once)


COMMANDS = (
    Command(
        "watch",
        "draw a run's training in the terminal, live",
        _add_arguments,
        _act,
        "aurelius watch mine\naurelius watch mine --against nano\naurelius watch mine --once",
    ),
)
