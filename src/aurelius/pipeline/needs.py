"""How much memory and disk a run will take, said before it begins.

Measured: 2.65 million stories (2.17 GB) took 2.73 GiB at the peak of the corpus stage (docs/results.md),
which keeps 960 bytes of each story on disk while it looks for duplicates; a story that stays takes 300 bytes
as Parquet and 430 as tokens (21,216 of TinyStories, 4,096 tokens).
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from aurelius.config.recipe import Recipe
from aurelius.corpus.readers.sources import BYTES_OF_STORY, size_of
from aurelius.training.memory import memory_bytes

READ, KEPT = 1_000, 800  # bytes of memory and of disk per story read; of disk per story kept
LIBRARIES = 600 << 20  # memory of Python with PyTorch
STATE = {"muon": 9, "adamw": 13}  # bytes per parameter of a checkpoint
EXPORTED = 12  # bytes per parameter of what is published, and written on the way
OTHER = 10 << 20  # disk: tokenizer, reports, metrics
WORTH_SAYING = 1 << 30


@dataclass(frozen=True)
class Needs:
    """Bytes, all estimated; of the corpus stage None if nobody knows beforehand how large the corpus is.

    Attributes:
        corpus: memory, and also disk, for reading the corpus and looking for duplicates.
        training: memory of the training, on its device.
        kept: disk for what the run keeps.
        download: what has to come from the hub.
    """

    corpus: int | None
    training: int
    kept: int | None
    download: int

    @property
    def disk(self) -> int:
        """Disk at the peak, the download included."""
        return self.download + max(self.corpus or 0, self.kept or 0)

    @property
    def in_words(self) -> str:
        """One line for people."""
        parts = [] if self.corpus is None else [f"about {_gib(self.corpus)} of memory for the corpus"]
        of_memory = "" if parts else " of memory"
        parts.append(f"about {_gib(self.training)}{of_memory} for training")
        disk = f"{_gib(self.disk)} of disk" if self.kept else ""
        if disk and self.download:
            disk += f", {_gib(self.download)} of it for the download"
        return " and ".join(parts) + (f"; {disk}" if disk else "")


def needs(recipe: Recipe, on_cpu: bool = True, reachable: bool = True) -> Needs:
    """Estimate what a run takes.

    Args:
        recipe: its steps may be unknown.
        on_cpu: whether it trains on a CPU.
        reachable: whether the hub may be asked how large its files are.
    """
    size, download = size_of(recipe.corpus, reachable)
    read = size // BYTES_OF_STORY if size is not None else None
    kept = min(filter(None, (read, recipe.corpus.stories)), default=None)
    per_parameter = (recipe.training.keep_checkpoints + 1) * STATE[recipe.optimizer.name] + EXPORTED
    compiled = on_cpu and recipe.training.engine == "auto"
    blocks = min(recipe.training.batch, os.cpu_count() or 1) if compiled else None
    return Needs(
        None if read is None else LIBRARIES + read * READ,
        LIBRARIES * on_cpu + memory_bytes(recipe, blocks),
        None if kept is None else OTHER + kept * KEPT + recipe.parameters * per_parameter,
        download,
    )


def warning(found: Needs, folder: Path) -> str:
    """Say what is worth saying before a run: that it takes much, or more disk than there is; or ""."""
    existing = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
    free = shutil.disk_usage(existing).free
    if found.disk > free:
        return f"this run needs {found.in_words}; only {_gib(free)} of disk space is free"
    much = max(found.corpus or 0, found.training, found.disk) >= WORTH_SAYING
    return f"this run needs {found.in_words}" if much else ""


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
