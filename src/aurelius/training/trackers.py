"""Experiment trackers that get the same figures as ``metrics.jsonl``: TensorBoard, Trackio, Weights & Biases.

To add one: a class here with the methods of `Tracker`, and a line in TRACKERS.
"""

import importlib
import shlex
from collections.abc import Iterable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

from aurelius.errors import RecipeError, RunError, first_line

PROJECT = "aurelius"


class Tracker(Protocol):
    """Another place that the figures go to."""

    where: str  # the figures are, and how to view them

    def log(self, figures: dict[str, float], step: int) -> None:
        """Take the figures of one step."""
        ...

    def close(self) -> None:
        """Write what is still buffered."""
        ...


class _TensorBoard:
    """Event files in ``training/tensorboard``."""

    def __init__(self, folder: Path, run: str, step: int, config: dict[str, Any]):
        from torch.utils.tensorboard import SummaryWriter

        events = folder / "tensorboard"
        self.writer = SummaryWriter(str(events), purge_step=step + 1 if step else None)
        self.where = f"{events}; to view them: {shlex.join(['tensorboard', '--logdir', str(events)])}"

    def log(self, figures: dict[str, float], step: int) -> None:
        for name, value in figures.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class _Trackio:
    """Its local store, or a server, as its environment variables say."""

    def __init__(self, folder: Path, run: str, step: int, config: dict[str, Any]):
        with redirect_stdout(StringIO()):  # it prints a greeting
            import trackio

            self.trackio = trackio
            trackio.init(PROJECT, name=run, config=config, resume="allow", embed=False)
        self.where = f"Trackio's store, as run {run}; to view them: trackio show --project {PROJECT}"

    def log(self, figures: dict[str, float], step: int) -> None:
        self.trackio.log(figures, step)

    def close(self) -> None:
        with redirect_stdout(StringIO()):
            self.trackio.finish()


class _Wandb:
    """Weights & Biases; ``WANDB_MODE=offline`` keeps it on this machine."""

    def __init__(self, folder: Path, run: str, step: int, config: dict[str, Any]):
        import wandb

        self.run = wandb.init(
            project=PROJECT, name=run, id=run, resume="allow", config=config, dir=str(folder)
        )
        here = Path(self.run.dir).parent  # of its files
        sync = shlex.join(["wandb", "sync", str(here)])
        self.where = self.run.url or f"{here}; to upload and view them: {sync}"

    def log(self, figures: dict[str, float], step: int) -> None:
        self.run.log(figures, step=step)

    def close(self) -> None:
        self.run.finish()


TRACKERS = {"tensorboard": _TensorBoard, "trackio": _Trackio, "wandb": _Wandb}


def check_trackers(names: Iterable[str]) -> None:
    """Refuse trackers that are unknown or not installed.

    Raises:
        RecipeError: with the command that installs what is missing.
    """
    for name in names:
        if name not in TRACKERS:
            raise RecipeError(f"there is no tracker '{name}'; choose from {', '.join(TRACKERS)}")
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise RecipeError(
                f"tracking with {name} needs a package that is not installed ({first_line(error)}): "
                f"pip install 'aurelius-lm[{name}]'"
            ) from None


def open_tracker(name: str, folder: Path, run: str, step: int, config: dict[str, Any]) -> Tracker:
    """Open a tracker that continues the run named ``run`` after ``step``.

    Raises:
        RecipeError: as `check_trackers`.
        RunError: the tracker refuses.
    """
    check_trackers([name])
    try:
        return TRACKERS[name](folder, run, step, config)
    except Exception as error:  # each raises what it likes: a login, a server, a folder
        raise RunError(f"{name} cannot be used: {first_line(error)}") from error
