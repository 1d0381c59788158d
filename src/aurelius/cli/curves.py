"""A run's training as curves in the terminal, drawn from its ``metrics.jsonl``."""

import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from aurelius.cli.chart import COLOURS, line_chart
from aurelius.config.recipe import Recipe
from aurelius.errors import AureliusError, RunError, suggest
from aurelius.progress_bar import duration, rate
from aurelius.run_paths import MANIFEST, RECIPE, RunPaths
from aurelius.training.metrics import read_metrics

REFRESH = 2.0  # seconds
LEAST, MOST = 3, 10  # lines of a curve
CURVES = {
    "valid_bits_per_byte": "held-out bits per byte",
    "bits_per_byte": "training, bits per byte",
    "loss": "training, nats per token",
    "tokens_per_second": "tokens per second",
}


def watch(run: Path, console: Console, *, against: Path | None = None, once: bool = False) -> None:
    """Draw the training of a run folder until it ends or stops, or once.

    Args:
        run: the run folder.
        console: where to draw.
        against: another run, drawn with it by the tokens trained on.
        once: draw what is there and return.

    Raises:
        RunError: a folder is not a run, or its training has not started.
        RecipeError: its recipe is damaged.
    """
    other = figures(against) if against else []
    lines = figures(run)
    recipe, paths = Recipe.load(run), RunPaths(run)

    def drawn() -> Group:
        return picture(recipe, lines, console.width, console.height, other, state(paths))

    if once or not console.is_terminal:
        console.print(drawn())
        return
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            lines = figures(run, lines)
            live.update(drawn(), refresh=True)
            if state(paths) != "training":
                break
            time.sleep(REFRESH)
    console.print(drawn())


def figures(run: Path, otherwise: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics, with the training loss in bits per byte, too.

    Raises:
        RunError: the folder is not a run, or its training has not started (unless there is ``otherwise``).
    """
    paths = RunPaths(run)
    if not paths.is_run:
        raise RunError(f"{run} is not a run folder (no {RECIPE})")
    lines = read_metrics(paths.training) or otherwise  # empty while a training starts again
    if not lines:
        raise RunError(f"{run} has not started training: {suggest('train', run)}")
    try:
        from aurelius.data.store import TokenStore

        store = TokenStore.open(paths.tokens, "train")
    except AureliusError:  # the tokens were removed to save space
        return lines
    return [
        {**line, "bits_per_byte": store.bits_per_byte(line["loss"])} if "loss" in line else line
        for line in lines
    ]


def state(run: RunPaths) -> str:
    """Return what the training of a run does: training, done, or stopped (nobody works in the folder)."""
    if (run.training / MANIFEST).exists():
        return "done"
    try:
        with FileLock(run.lock, timeout=0):
            return "stopped"
    except Timeout:
        return "training"
    except OSError:  # a folder that cannot be written: nobody trains in it
        return "stopped"


def picture(
    recipe: Recipe,
    lines: list[dict[str, Any]],
    width: int,
    height: int,
    other: list[dict[str, Any]] | None = None,
    state: str = "training",
) -> Group:
    """Return curves of the metrics' ``lines``, as many as fit a terminal of ``width`` by ``height``."""
    other = other or []
    heads = [Text(_headline(recipe, lines, state), style="bold", overflow="ellipsis", no_wrap=True)]
    if state == "stopped":
        heads.append(Text(f"training has stopped; {suggest('run', 'RUN')} resumes it", style="yellow"))
    if other:
        heads.append(Text("in this colour the other run, after as many tokens", style=COLOURS[1]))
    keys = [key for key in CURVES if any(key in line for line in lines)]
    room = height - 1 - len(heads)
    keys = keys[: max(1, room // (LEAST + 1))]
    each = max(1, min(MOST, room // len(keys) - 1)) if keys else 0
    drawn: list[Any] = heads
    for key in keys:
        curves = [[(line["tokens"], line[key]) for line in some if key in line] for some in (lines, other)]
        drawn.append(Text(_caption(key, curves[0], curves[1]), style="bold"))
        drawn.append(line_chart(curves, width, each))
    return Group(*drawn)


def _headline(recipe: Recipe, lines: list[dict[str, Any]], state: str) -> str:
    step, steps = lines[-1]["step"], recipe.training.steps
    parts = [f"step {step:,} of {steps:,}" if steps else f"step {step:,}", f"{lines[-1]['tokens']:,} tokens"]
    speeds = [line for line in lines if "tokens_per_second" in line]
    if speeds:
        taken = duration(speeds[-1]["seconds"])
        left = (steps - step) * recipe.tokens_per_step / max(1, speeds[-1]["tokens_per_second"])
        if state == "training" and step < steps:
            parts.append(f"{taken} so far, {duration(left)} left")
        else:
            parts.append(f"{state} after {taken}")
    return f"{recipe.name}: {', '.join(parts)}"


def _caption(key: str, curve: list[tuple[int, float]], other: list[tuple[int, float]]) -> str:
    """Return a curve's title with its last value, and the other run's value after as many tokens."""
    tokens, value = curve[-1]
    show = rate if key == "tokens_per_second" else "{:.4g}".format
    earlier = [value for at, value in other if at <= tokens]
    return f"{CURVES[key]}: {show(value)}" + (f" (the other run: {show(earlier[-1])})" if earlier else "")
