"""What people see of long work, in terminals of several widths and in logs."""

import importlib.util
import io

import pytest
from rich.console import Console

import aurelius
from aurelius import progress_bar
from aurelius.progress import SILENT
from aurelius.progress_bar import LiveProgress, PlainProgress


@pytest.mark.parametrize("width", [80, 120])
def test_the_bar_fits_the_terminal_with_rate_time_and_loss(width: int):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, color_system=None, legacy_windows=False)
    with LiveProgress(console).task("training", 1_000_000, "tokens") as task:
        task.advance(400_000, "loss 3.123, held-out 3.456")
    shown = next(line for line in out.getvalue().replace("\r", "\n").split("\n") if "40%" in line)
    for part in ("training", "\u2501", "tokens/s", ":", "loss 3.123, held-out 3.456"):
        assert part in shown
    assert len(shown.split("\x1b[")[0].rstrip()) <= width


def test_plain_lines_elsewhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress_bar, "LINE_EVERY", 0)
    out = io.StringIO()
    progress = PlainProgress(Console(file=out, width=80))
    progress.warn("[careful]")
    with progress.task("training", 100, "tokens") as task:
        task.advance(50, "loss 3")
    assert out.getvalue().splitlines()[0] == "warning: [careful]"
    assert "training: 50% of 100 tokens" in out.getvalue() and "left, loss 3" in out.getvalue()


def test_python_shows_a_bar_only_where_somebody_watches(monkeypatch: pytest.MonkeyPatch):
    assert progress_bar.if_watched() is SILENT is aurelius.SILENT
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a terminal, to rich
    assert isinstance(progress_bar.if_watched(), LiveProgress)


@pytest.mark.parametrize(("widgets", "expected"), [(object(), LiveProgress), (None, PlainProgress)])
def test_a_notebook_without_widgets_gets_lines(monkeypatch: pytest.MonkeyPatch, widgets, expected: type):
    """Rich draws its bar with ipywidgets; without them it would warn and leave empty outputs."""
    monkeypatch.setattr(progress_bar, "Console", lambda **_: Console(force_jupyter=True))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: widgets)
    for make in (progress_bar.on_stderr, progress_bar.if_watched):
        assert type(make()) is expected


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, text: str):
    assert progress_bar.duration(seconds) == text
