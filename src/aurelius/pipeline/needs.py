"""How much memory and disk a run will take, said before it begins.

Measured: 2.65 million stories (2.17 GB) took 2.73 GiB at the peak of the corpus stage (docs/results.md); a
story that is kept takes 300 bytes as Parquet and 430 as tokens (21,216 of TinyStories, 4,096 tokens).
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from aurelius.config.recipe import Recipe
from aurelius.corpus.readers.sources import size_of
from aurelius.device import pick
from aurelius.training.memory import memory_bytes

BYTES_OF_STORY = 820  # its text
READ, KEPT = 1_000, 800  # memory per story read, disk per story kept
LIBRARIES = 600 << 20  # memory of Python with PyTorch
STATE = {"muon": 9, "adamw": 13}  # bytes per parameter of a checkpoint
EXPORTED = (
    12  # bytes per parameter: published weights, their copy for the page, and what is written on the way
)
OTHER = 10 << 20  # disk: tokenizer, reports, metrics
WORTH_SAYING = 1 << 30


@dataclass(frozen=True)
class Needs:
    """Bytes, all estimated; None where the size of the corpus is not known beforehand."""

    training_memory: int
    corpus_memory: int | None
    disk: int | None
    download: int

    @property
    def in_words(self) -> str:
        """One line for people."""
        memory = max(self.training_memory, self.corpus_memory or 0)
        parts = [f"about {memory / 2**30:.1f} GiB of memory"]
        if self.disk is not None:
            parts.append(f"{self.disk / 2**30:.1f} GiB of disk")
        if self.download:
            parts.append(f"{self.download / 2**30:.1f} GiB for the download")
        return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def needs(recipe: Recipe, device: str = "auto", reachable: bool = True) -> Needs:
    """Estimate what a run takes.

    Args:
        recipe: its steps may be unknown.
        device: auto, cpu, cuda or mps; where the memory of training is.
        reachable: whether the hub may be asked how large its files are.
    """
    compiled = recipe.training.engine == "auto" and pick(device).type == "cpu"
    at_once = min(recipe.training.batch, os.cpu_count() or 1) if compiled else None
    settings = recipe.corpus
    size, download = size_of(settings, reachable)
    read = size // BYTES_OF_STORY if size is not None else None
    kept = min(filter(None, (read, settings.stories)), default=None)
    model = (recipe.training.keep_checkpoints + 1) * STATE[recipe.optimizer.name] + EXPORTED
    return Needs(
        LIBRARIES + memory_bytes(recipe, at_once),
        None if read is None else LIBRARIES + read * READ,
        None if kept is None else OTHER + kept * KEPT + recipe.parameters * model,
        download,
    )


def warning(found: Needs, folder: Path) -> str:
    """Say what is worth saying before a run: that it takes much, or more than there is; otherwise ""."""
    existing = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
    free, total = shutil.disk_usage(existing).free, found.disk or 0
    if total > free:
        return f"this run needs {found.in_words}, but only {free / 2**30:.1f} GiB of disk are free"
    much = max(found.training_memory, found.corpus_memory or 0, total, found.download) >= WORTH_SAYING
    return f"this run needs {found.in_words}" if much else ""
