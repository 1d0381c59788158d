"""What people see of long work: a live progress bar in a terminal or notebook, plain lines elsewhere."""

import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, ProgressColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.progress import Task as BarTask
from rich.text import Text

from aurelius.progress import SILENT, Progress, Task

LINE_EVERY = 15.0  # seconds
REFRESH = 0.1  # seconds between updates of a bar


def on_stderr() -> Progress:
    """Return a reporter: a live bar if standard error is a terminal or a notebook, plain lines elsewhere."""
    console = Console(stderr=True)
    return _watched(console) or PlainProgress(console)


def if_watched() -> Progress:
    """Return a reporter that shows progress in a terminal or notebook, and is silent elsewhere."""
    return _watched(Console(stderr=True)) or SILENT


def _watched(console: Console) -> Progress | None:
    if console.is_jupyter and not importlib.util.find_spec("ipywidgets"):  # which rich needs for a bar
        return PlainProgress(console)
    return LiveProgress(console) if console.is_terminal or console.is_jupyter else None


def rate(per_second: float) -> str:
    """Write a rate with three digits at most: 812, 5.4k, 2.1M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if per_second >= size:
            return f"{per_second / size:.1f}{letter}"
    return f"{per_second:.0f}" if per_second >= 10 else f"{per_second:.1f}"


def duration(seconds: float) -> str:
    """Write a duration: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class _Reporting(Progress):
    def __init__(self, console: Console):
        self.console = console

    def note(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print one line that stands out."""
        self.console.print(f"[yellow]warning:[/] {escape(text)}", highlight=False, soft_wrap=True)


class PlainProgress(_Reporting):
    """A line from time to time, for logs and pipes."""

    @contextmanager
    def task(self, title: str, total: int | None, unit: str, done: int = 0) -> Iterator[Task]:
        """See `Progress.task`."""
        yield _PlainTask(self, title, total, unit, done)


class _PlainTask(Task):
    def __init__(self, progress: PlainProgress, title: str, total: int | None, unit: str, done: int):
        super().__init__(title, total, unit, done)
        self.progress, self.first, self.info = progress, done, ""
        self.started = self.shown = time.monotonic()

    def advance(self, count: int = 1, info: str = "") -> None:
        self.done += count
        self.info = info or self.info
        now = time.monotonic()
        if now - self.shown < LINE_EVERY:
            return
        self.shown = now
        speed = (self.done - self.first) / (now - self.started)
        parts = [f"{self.done:,} {self.unit}", f"{rate(speed)} {self.unit}/s"]
        if self.total:
            parts[0] = f"{self.done / self.total:.0%} of {self.total:,} {self.unit}"
            if speed:
                parts.append(f"{duration((self.total - self.done) / speed)} left")
        self.progress.note(f"{self.title}: {', '.join(parts + [self.info] * bool(self.info))}")


class _Rate(ProgressColumn):
    def render(self, task: BarTask) -> Text:
        return Text(f"{rate(task.speed or 0)} {task.fields['unit']}/s", style="cyan")


class LiveProgress(_Reporting):
    """A progress bar with rate and time left."""

    @contextmanager
    def task(self, title: str, total: int | None, unit: str, done: int = 0) -> Iterator[Task]:
        """See `Progress.task`."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24 if self.console.width >= 100 else 10),
            TextColumn("{task.percentage:>3.0f}%"),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[info]}"),
        )
        with Bars(*columns, console=self.console, transient=True, speed_estimate_period=60) as bars:
            handle = bars.add_task(title, total=total, completed=done, unit=unit, info="")
            yield _LiveTask(bars, handle, title, total, unit, done)


class _LiveTask(Task):
    def __init__(self, bars: Bars, handle: TaskID, title: str, total: int | None, unit: str, done: int):
        super().__init__(title, total, unit, done)
        self.bars, self.handle = bars, handle
        self.waiting, self.shown = 0, 0.0

    def advance(self, count: int = 1, info: str = "") -> None:
        self.done += count
        self.waiting += count
        now = time.monotonic()
        if now - self.shown < REFRESH:
            return
        self.bars.advance(self.handle, self.waiting)
        if info:
            self.bars.update(self.handle, info=info)
        self.waiting, self.shown = 0, now

    def expect(self, total: int) -> None:
        self.total = total
        self.bars.update(self.handle, total=total)
