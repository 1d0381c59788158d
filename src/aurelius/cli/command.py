"""What a command is: its name, help, arguments, action and examples."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One command of ``aurelius``. Its module imports what is heavy only inside ``act``."""

    name: str  # of one or two words
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    act: Callable[[argparse.Namespace], None]
    examples: str = ""  # a line each
