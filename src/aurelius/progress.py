"""How long work reports what it does; the library itself never prints.

Every long function takes a ``Progress`` and defaults to the silent one. `console.py` has the two that a
person sees: a live bar on a terminal, plain lines elsewhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class Task:
    """One piece of long work. ``total`` and ``done`` count ``unit``s."""

    def __init__(self, title: str, total: int | None, unit: str, done: int = 0):
        self.title, self.total, self.unit, self.done = title, total, unit, done

    def advance(self, count: int = 1, info: str = "") -> None:
        """Report that ``count`` more units are done; ``info`` is a short text such as the loss."""
        self.done += count


class Progress:
    """The silent reporter, and the interface of the others."""

    @contextmanager
    def task(self, title: str, total: int | None, unit: str, done: int = 0) -> Iterator[Task]:
        """Open a task; a resumed one starts at ``done`` units, which do not count for its rate."""
        yield Task(title, total, unit, done)

    def note(self, text: str) -> None:
        """Say one thing worth knowing."""

    def warn(self, text: str) -> None:
        """Say one thing the user should act on."""


SILENT = Progress()
