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


def _is_valid(line: bytes, last_step: int | None) -> bool:
    """Whether a line is complete (a kill may leave half of one) and not after ``last_step``."""
    try:
        step = json.loads(line)["step"]
        return line.endswith(b"\n") and (last_step is None or step <= last_step)
    except (ValueError, KeyError, TypeError):
        return False
