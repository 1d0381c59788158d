"""What a command is: its name, help, arguments, action and examples."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aurelius.progress import Progress


@dataclass(frozen=True)
class Command:
    """One command of ``aurelius``. Its module imports what is heavy only inside ``act``.

    ``after_run`` is called at the end of every run with the run folder, the device and the progress; it
    returns a heading and a text for the summary.
    """

    name: str  # of one or two words
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    act: Callable[[argparse.Namespace], None]
    examples: str = ""  # a line each
    after_run: Callable[[Path, str, Progress], tuple[str, str]] | None = None  # see `run`
