"""The commands, in the order of the help; to add one, write its module and add it here."""

import argparse
from importlib import import_module

from aurelius import __version__
from aurelius.cli.command import Command

MODULES = (
    "run",
    "stages",
    "evaluate",
    "generate",
    "export",
    "publish",
    "import_model",
    "watch",
    "inspect",
    "storyteller",
    "recipes",
    "doctor",
)


def commands() -> list[Command]:
    """Return all commands."""
    return [each for module in MODULES for each in import_module(f"aurelius.cli.{module}").COMMANDS]


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse a command line; ``act`` is the action of its command. Exits with a message on a mistake."""
    known = commands()
    parser = argparse.ArgumentParser(
        "aurelius", description="From a corpus of short stories to a published tiny language model."
    )
    parser.add_argument("--version", action="version", version=f"aurelius {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in known:
        subparser = subparsers.add_parser(command.name, help=command.help, description=command.help)
        command.add_arguments(subparser)
        subparser.set_defaults(act=command.act, command=command.name)
    two_words = " ".join(arguments[:2])
    if any(command.name == two_words for command in known if " " in command.name):
        arguments = [two_words, *arguments[2:]]
    return parser.parse_args(arguments)
