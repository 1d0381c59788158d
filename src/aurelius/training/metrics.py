"""The figures of a training: a line of ``metrics.jsonl`` each, and the trackers that were asked for."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from aurelius.files import write_bytes
from aurelius.run_paths import METRICS
from aurelius.training.trackers import Tracker, open_tracker

RISE = 0.05  # nats per token by which the held-out loss may rise again without a warning
GAP = 0.5  # nats per token by which it may exceed the training loss


class Metrics:
    """Writes a line of JSON per call of `record`, and passes it to the trackers."""

    def __init__(self, file: Any, trackers: Iterable[Tracker]):
        self.file, self.trackers = file, tuple(trackers)

    def record(self, step: int, tokens: int, **figures: float) -> None:
        """Write the figures of a step (``tokens``: trained on so far)."""
        self.file.write(json.dumps({"step": step, "tokens": tokens, **figures}) + "\n")
        self.file.flush()
        for tracker in self.trackers:
            tracker.log({"tokens": tokens, **figures}, step)


@contextmanager
def open_metrics(
    folder: Path, step: int, track: Iterable[str], identity: dict[str, Any]
) -> Iterator[Metrics]:
    """Open the metrics of a training folder, truncated after ``step``, and the trackers named in ``track``.

    Raises:
        RecipeError: a tracker is unknown, or not installed.
        RunError: a tracker refuses.
    """
    path = folder / METRICS
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        write_bytes(path, b"".join(line for line in lines if _is_valid(line, step)))
    run = folder.resolve().parent
    key = hashlib.sha256(json.dumps([str(run), identity], sort_keys=True).encode()).hexdigest()[:8]
    with ExitStack() as stack:
        trackers = []
        for name in track:
            trackers.append(open_tracker(name, folder, f"{run.name}-{key}", step, identity))
            stack.callback(trackers[-1].close)
        yield Metrics(stack.enter_context(path.open("a", encoding="utf-8")), trackers)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the complete lines of a training folder's metrics, oldest first."""
    path = folder / METRICS
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return [json.loads(line) for line in lines if _is_valid(line, None)]


def overfitting(figures: list[dict[str, Any]]) -> str | None:
    """Say what in the figures of a training shows that the model learned stories by heart, or None."""
    held_out = [(line["valid_loss"], line["step"]) for line in figures if "valid_loss" in line]
    if not held_out:
        return None
    last, (best, step) = held_out[-1][0], min(held_out)
    trained = [line["loss"] for line in figures if "loss" in line][-1]
    if last > best + RISE:
        return (
            f"the held-out loss was lowest at step {step:,} ({best:.3f}) and has risen to {last:.3f}: the "
            f"model overfits. Train on more stories, or for fewer steps (training.steps={step})"
        )
    if last > trained + GAP:
        return (
            f"the loss is {trained:.3f} on stories trained on and {last:.3f} on held-out ones: the model "
            "overfits. Train on more stories, or for fewer steps"
        )
    return None


def _is_valid(line: bytes, last_step: int | None) -> bool:
    """Whether a line is complete (a kill may leave half of one) and not after ``last_step``."""
    try:
        step = json.loads(line)["step"]
        return line.endswith(b"\n") and (last_step is None or step <= last_step)
    except (ValueError, KeyError, TypeError):
        return False
