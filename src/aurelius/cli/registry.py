"""The commands, in the order of the help; to add one, write its module and add it here."""

import argparse
import difflib
from importlib import import_module

from aurelius import __version__
from aurelius.cli.command import Command
from aurelius.cli.options import add_quiet_option
from aurelius.cli.parser import CommandParser

MODULES = (
    "run",
    "stages",
    "evaluate",
    "generate",
    "open",
    "export",
    "publish",
    "import_model",
    "watch",
    "report",
    "compare",
    "study",
    "runs",
    "inspect",
    "storyteller",
    "recipes",
    "doctor",
    "completion",
)
EXAMPLES = """\
aurelius run nano                                  from a corpus to a model, with the default recipe
aurelius run nano --corpus stories.txt --minutes 15
aurelius generate nano "Once upon a time"          a story by the run in runs/nano
aurelius COMMAND --help                            what a command does, with examples"""


def commands() -> list[Command]:
    """Return all commands."""
    return [each for module in MODULES for each in import_module(f"aurelius.cli.{module}").COMMANDS]


def parsers() -> tuple[CommandParser, dict[str, CommandParser]]:
    """Return the parser of the whole command line, and that of each command by its name."""
    whole = CommandParser(
        prog="aurelius",
        description="From a corpus of short stories to a published tiny language model.",
        examples=EXAMPLES,
    )
    whole.add_argument("--version", action="version", version=f"aurelius {__version__}")
    subparsers = whole.add_subparsers(title="commands", metavar="COMMAND", parser_class=CommandParser)
    for command in commands():
        parser = subparsers.add_parser(
            command.name, help=command.help, description=command.help, examples=command.examples
        )
        command.add_arguments(parser)
        add_quiet_option(parser)
        parser.set_defaults(act=command.act, command=command.name)
    return whole, dict(subparsers.choices)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse a command line; ``act`` is the action of its command. Exits with a message on a mistake."""
    whole, known = parsers()
    if not arguments or arguments == ["help"]:
        arguments = ["--help"]
    for count in (2, 1):  # such as "corpus inspect", then "corpus"
        if parser := known.get(" ".join(arguments[:count])):
            return parser.parse(arguments[count:])
    if arguments[0].startswith("-"):
        return whole.parse_args(arguments)
    similar = difflib.get_close_matches(arguments[0], known, 1)
    advice = f"did you mean '{similar[0]}'?" if similar else "aurelius --help lists them"
    return whole.error(f"there is no command '{arguments[0]}'; {advice}")
