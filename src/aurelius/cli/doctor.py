"""``aurelius doctor``: what this machine offers."""

import argparse

from aurelius.cli import options as common
from aurelius.cli.command import Command


def _act(options: argparse.Namespace) -> None:
    from aurelius.cli.machine import findings

    if options.json:
        common.print_json(dict(findings()))
        return
    for name, text in findings():
        print(f"{name:14}{text}")


COMMANDS = (Command("doctor", "describe this machine, for bug reports", common.add_json_option, _act),)
