"""A run's training as curves in the terminal, drawn from its ``metrics.jsonl``."""

import math
import time
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from aurelius.config.recipe import Recipe
from aurelius.errors import RunError, suggest
from aurelius.progress_bar import duration, rate
from aurelius.run_paths import MANIFEST, RECIPE, RunPaths
from aurelius.training.metrics import read_metrics

REFRESH = 2.0  # seconds
HEIGHT = 6  # lines of a curve
SCALE = 10  # columns of the numbers at its left
BARS = " ▁▂▃▄▅▆▇█"
CURVES = {
    "loss": "loss (nats per token)",
    "valid_bits_per_byte": "held-out bits per byte",
    "tokens_per_second": "tokens per second",
    "rate": "learning rate (share of its peak)",
}


def watch(run: Path, console: Console, *, once: bool = False) -> None:
    """Draw the training of a run folder until it ends, or once.

    Raises:
        RunError: the folder is not a run, or its training has not started.
        RecipeError: its recipe is damaged.
    """
    paths = RunPaths(run)
    if not paths.is_run:
        raise RunError(f"{run} is not a run folder (no {RECIPE})")
    recipe = Recipe.load(run)
    lines = read_metrics(paths.training)
    if not lines:
        raise RunError(f"{run} has not started training: {suggest('train', run)}")
    if once or not console.is_terminal:
        console.print(picture(recipe, lines, console.width))
        return
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            lines = read_metrics(paths.training) or lines  # empty while a training starts again
            live.update(picture(recipe, lines, console.width), refresh=True)
            if (paths.training / MANIFEST).exists():
                break
            time.sleep(REFRESH)
    console.print(picture(recipe, lines, console.width))


def picture(recipe: Recipe, lines: list[dict[str, Any]], width: int) -> Group:
    """Return the curves of the metrics' ``lines`` for a terminal of ``width`` columns."""
    step, steps = lines[-1]["step"], recipe.training.steps
    parts = [f"step {step:,} of {steps:,}" if steps else f"step {step:,}", f"{lines[-1]['tokens']:,} tokens"]
    speeds = [line for line in lines if "tokens_per_second" in line]
    if speeds:
        taken = duration(speeds[-1]["seconds"])
        left = (steps - step) * recipe.tokens_per_step / max(1, speeds[-1]["tokens_per_second"])
        parts.append(f"{taken} so far, {duration(left)} left" if step < steps else f"done in {taken}")
    drawn: list[Any] = [Text(f"{recipe.name}: {', '.join(parts)}", style="bold")]
    for key, title in CURVES.items():
        values = [(line["step"], line[key]) for line in lines if key in line]
        if values:
            last = rate(values[-1][1]) if key == "tokens_per_second" else f"{values[-1][1]:.4g}"
            curve = Text("\n".join(chart(values, max(10, width - SCALE - 6), HEIGHT)), style="cyan")
            drawn.append(Panel(curve, title=f"{title}: {last}", title_align="left", width=width))
    return Group(*drawn)


def chart(values: list[tuple[int, float]], width: int, height: int) -> list[str]:
    """Draw points (step, value) as bars: ``height`` lines of ``width`` columns with a scale at the left.

    A column shows the mean of its steps; one without a point repeats the column before it.
    """
    first, last = values[0][0], values[-1][0]
    span = max(1, last - first)
    width = min(width, span + 1)
    columns: list[float] = [math.nan] * width
    for column, points in groupby(values, lambda point: (point[0] - first) * (width - 1) // span):
        found = [value for _, value in points if math.isfinite(value)]
        columns[column] = sum(found) / len(found) if found else math.nan
    for column in range(1, width):
        if math.isnan(columns[column]):
            columns[column] = columns[column - 1]
    shown = [value for value in columns if not math.isnan(value)] or [0.0]
    low, high = min(shown), max(shown)
    scale = (height * 8 - 1) / (high - low) if high > low else 0.0
    filled = [0 if math.isnan(value) else 1 + round((value - low) * scale) for value in columns]
    lines = []
    for row in range(height - 1, -1, -1):
        label = f"{high:.4g}" if row == height - 1 else f"{low:.4g}" if row == 0 else ""
        bars = "".join(BARS[min(8, max(0, eighths - row * 8))] for eighths in filled)
        lines.append(f"{label:>{SCALE}} {bars}")
    return lines
