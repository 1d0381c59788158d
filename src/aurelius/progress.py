"""How long-running work reports its progress; the library itself never prints.

Every long-running function takes a ``Progress``, silent by default. `progress_bar` has the two that people
see: a live bar in a terminal, plain lines elsewhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class Task:
    """One piece of long-running work; ``total`` and ``done`` count ``unit``s."""

    def __init__(self, title: str, total: int | None, unit: str, done: int = 0):
        self.title, self.total, self.unit, self.done = title, total, unit, done

    def advance(self, count: int = 1, info: str = "") -> None:
        """Report that ``count`` more units are done; ``info`` is a short text such as the loss."""
        self.done += count

    def expect(self, total: int) -> None:
        """Report that the total turned out to be another."""
        self.total = total


class Progress:
    """The silent reporter, and the interface of the others."""

    @contextmanager
    def task(self, title: str, total: int | None, unit: str, done: int = 0) -> Iterator[Task]:
        """Open a task; a resumed one starts at ``done`` units, which do not count towards its rate."""
        yield Task(title, total, unit, done)

    def note(self, text: str) -> None:
        """Report something worth knowing."""

    def warn(self, text: str) -> None:
        """Report something the user should act on."""


SILENT = Progress()
