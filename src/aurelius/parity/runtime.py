"""What a runtime is to the parity check: something that answers a task with one exported file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aurelius.pipeline.manifest import Manifest
from aurelius.run_paths import RunPaths

THREADS = 2


@dataclass(frozen=True)
class Task:
    """What a runtime has to compute: ids of texts, logits of sequences, a greedy story after each opening.

    llama.cpp has no normalizer; it gets the texts ``normalised``. A story ends with ``end``, or after
    ``max_new_tokens``.
    """

    texts: list[str]
    normalised: list[str]
    sequences: list[list[int]]
    openings: list[list[int]]
    end: int | None
    max_new_tokens: int
    context: int
    vocab_size: int


@dataclass(frozen=True)
class Answers:
    """What a runtime computed; None if it cannot do so. ``logits`` are [T, V] each."""

    version: str
    logits: list[NDArray[np.float32]]
    ids: list[list[int]] | None = None
    greedy: list[list[int]] | None = None
    seconds: float = 0.0  # for the greedy stories


def _no_difference(text: str) -> bool:
    return False


@dataclass(frozen=True)
class Runtime:
    """A runtime with one file to load.

    Attributes:
        name: of the runtime.
        target: the export target of its file, and ``kind`` the kind of file, such as ``fp32`` or ``F16``.
        path: the file.
        answer: computes a task.
        adds_prefix: whether its ids begin with ``<sink> <s>``.
        known_difference: whether it cannot split a text as the others do, whatever the file says.
    """

    name: str
    target: str
    kind: str
    path: Path
    answer: Callable[[Task], Answers]
    adds_prefix: bool = True
    known_difference: Callable[[str], bool] = _no_difference


def finished_files(run: Path, target: str) -> list[Path]:
    """Return the files that a finished export to ``target`` wrote, sorted by name."""
    folder = RunPaths(run).export(target)
    manifest = Manifest.read(folder)
    return sorted(folder / name for name in manifest.outputs) if manifest else []
