"""``aurelius watch``: a run's training, drawn while it goes on."""

import argparse
import json

from aurelius.cli.command import Command


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder, or its name in runs/")
    parser.add_argument("--against", metavar="RUN", help="an earlier run, to draw with it")
    parser.add_argument("--once", action="store_true", help="draw what is there and exit")
    parser.add_argument("--json", action="store_true", help="print state and latest figures as JSON")


def _act(options: argparse.Namespace) -> None:
    from rich.console import Console

    from aurelius.cli.curves import figures, state, watch
    from aurelius.pipeline.run_folder import find_run
    from aurelius.run_paths import RunPaths

    run = find_run(options.run)
    if options.json:
        latest = {key: value for line in figures(run) for key, value in line.items()}
        print(json.dumps({"run": str(run), "state": state(RunPaths(run)), **latest}, indent=2))
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
