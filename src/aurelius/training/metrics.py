"""What a training says of itself: ``metrics.jsonl`` always, and the trackers that were asked for by name."""

import hashlib
import importlib
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

from aurelius.errors import RecipeError, RunError, first_line
from aurelius.files import write_bytes

METRICS = "metrics.jsonl"
PROJECT = "aurelius"
TRACKERS = ("tensorboard", "trackio", "wandb")


class Tracker(Protocol):
    """Somewhere else that the figures go."""

    def log(self, figures: dict[str, float], step: int) -> None:
        """Take the figures of one step."""
        ...

    def close(self) -> None:
        """Write what is still held."""
        ...


class Metrics:
    """Writes a line of JSON for each call of `record`, and tells the trackers."""

    def __init__(self, file: Any, trackers: Iterable[Tracker]):
        self.file, self.trackers = file, tuple(trackers)

    def record(self, step: int, tokens: int, **figures: float) -> None:
        """Write the figures of a step (``tokens``: trained on so far)."""
        self.file.write(json.dumps({"step": step, "tokens": tokens, **figures}) + "\n")
        self.file.flush()
        for tracker in self.trackers:
            tracker.log({"tokens": tokens, **figures}, step)


@contextmanager
def opened(folder: Path, step: int, track: Iterable[str], identity: dict[str, Any]) -> Iterator[Metrics]:
    """Open the metrics of a training folder, cut back to ``step``, and the trackers named in ``track``.

    Raises:
        RecipeError: a tracker is unknown, or not installed.
        RunError: a tracker refuses.
    """
    path = folder / METRICS
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        write_bytes(path, b"".join(line for line in lines if _belongs(line, step)))
    run = folder.resolve().parent
    key = hashlib.sha256(json.dumps([str(run), identity], sort_keys=True).encode()).hexdigest()[:8]
    with ExitStack() as stack:
        trackers = []
        for name in track:
            trackers.append(_open(name, folder, f"{run.name}-{key}", step, identity))
            stack.callback(trackers[-1].close)
        yield Metrics(stack.enter_context(path.open("a", encoding="utf-8")), trackers)


def read(folder: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a training folder's metrics, oldest first."""
    path = folder / METRICS
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return [json.loads(line) for line in lines if _belongs(line, None)]


def check(track: Iterable[str]) -> None:
    """Refuse trackers that are unknown or not installed.

    Raises:
        RecipeError: with the command that installs what is missing.
    """
    for name in track:
        if name not in TRACKERS:
            raise RecipeError(f"there is no tracker '{name}'; there are {', '.join(TRACKERS)}")
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise RecipeError(
                f"tracking with {name} needs a package that is not here ({first_line(error)}): "
                f"pip install 'aurelius-lm[{name}]'"
            ) from None


def _belongs(line: bytes, step: int | None) -> bool:
    """Whether a line is whole (a kill may leave half of one) and not after ``step``."""
    try:
        found = json.loads(line)["step"]
        return line.endswith(b"\n") and (step is None or found <= step)
    except (ValueError, KeyError, TypeError):
        return False


def _open(name: str, folder: Path, run: str, step: int, identity: dict[str, Any]) -> Tracker:
    check([name])
    try:
        return {"tensorboard": _TensorBoard, "trackio": _Trackio, "wandb": _Wandb}[name](
            folder, run, step, identity
        )
    except Exception as error:  # theirs to raise as they like: a login, a server, a folder
        raise RunError(f"{name} cannot be used: {first_line(error)}") from error


class _TensorBoard:
    """Event files in ``training/tensorboard``."""

    def __init__(self, folder: Path, run: str, step: int, identity: dict[str, Any]):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def log(self, figures: dict[str, float], step: int) -> None:
        for name, value in figures.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class _Trackio:
    """Its own store on this machine, or a server, as its environment variables say."""

    def __init__(self, folder: Path, run: str, step: int, identity: dict[str, Any]):
        with redirect_stdout(StringIO()):  # it greets
            import trackio

            self.trackio = trackio
            trackio.init(PROJECT, name=run, config=identity, resume="allow", embed=False)

    def log(self, figures: dict[str, float], step: int) -> None:
        self.trackio.log(figures, step)

    def close(self) -> None:
        with redirect_stdout(StringIO()):
            self.trackio.finish()


class _Wandb:
    """Weights & Biases; ``WANDB_MODE=offline`` keeps it on this machine."""

    def __init__(self, folder: Path, run: str, step: int, identity: dict[str, Any]):
        import wandb

        self.run = wandb.init(
            project=PROJECT, name=run, id=run, resume="allow", config=identity, dir=str(folder)
        )

    def log(self, figures: dict[str, float], step: int) -> None:
        self.run.log(figures, step=step)

    def close(self) -> None:
        self.run.finish()
