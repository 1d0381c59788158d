"""The parser of one command: argparse, with a few mistakes less to make.

Options may stand anywhere, also between the arguments. A value or a text may begin with a dash, as in
``--separator ---`` or ``generate demo "-Hello"``, which argparse would take for an option.
"""

import argparse
import difflib
import re
from typing import Any, NoReturn

NUMBER = re.compile(r"-\d*\.?\d")


class CommandParser(argparse.ArgumentParser):
    """The parser of one command; ``examples`` end its help."""

    def __init__(self, *, examples: str = "", **options: Any):
        epilog = (
            "examples:\n" + "\n".join(f"  {line}" for line in examples.splitlines()) if examples else None
        )
        super().__init__(
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,
        )

    def parse(self, arguments: list[str]) -> argparse.Namespace:
        """Parse the arguments of the command; exits with a message on a mistake."""
        return self.parse_intermixed_args(self._readable(arguments))

    def _readable(self, arguments: list[str]) -> list[str]:
        """Join options with values that begin with a dash, and put texts that do behind ``--``."""
        options = {name: action for action in self._actions for name in action.option_strings}
        given, texts, rest = [], [], list(arguments)
        while rest:
            word = rest.pop(0)
            if word == "--":
                texts += rest
                break
            follows = rest[0] if rest else ""
            takes_value = word in options and options[word].nargs is None
            if takes_value and follows.startswith("-") and follows not in options:
                given.append(f"{word}={rest.pop(0)}")
            elif re.match(r"-[^-]", word) and word not in options and not NUMBER.match(word):
                texts.append(word)
            else:
                given.append(word)
        return [*given, "--", *texts] if texts else given

    def error(self, message: str) -> NoReturn:
        """Exit with the usage, the message and, for an unknown option, the most similar one."""
        unknown = re.match(r"unrecognized arguments: (--[\w-]+)", message)
        options = [name for action in self._actions for name in action.option_strings]
        if unknown and (similar := difflib.get_close_matches(unknown[1], options, 1)):
            message += f"; did you mean {similar[0]}?"
        super().error(message)
