"""``aurelius doctor``: what this machine offers."""

import argparse

from aurelius.cli.command import Command


def _act(options: argparse.Namespace) -> None:
    from aurelius.cli.machine import findings

    for name, text in findings():
        print(f"{name:14}{text}")


COMMANDS = (Command("doctor", "describe this machine, for bug reports", lambda parser: None, _act),)
