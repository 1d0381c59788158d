"""What a target of export is: a folder that is written for one or more runtimes.

A target's module defines ``TARGET``; `registry` lists the modules. Everything else (stages, the command line,
parity, the model card, publishing) goes through these fields and names no target itself.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aurelius.config.recipe import Recipe
from aurelius.progress import Progress


@dataclass(frozen=True)
class Tolerance:
    """How far a file's results may differ from the model's: logits, and bits per byte (relative).

    Greedy stories may diverge only where the two largest logits differ by no more than ``logits``.
    """

    logits: float = math.inf
    bits_per_byte: float = math.inf


def _nothing(recipe: Recipe) -> None:
    """Check nothing: whatever the recipe, the target can be written."""


def _no_section(values: Mapping[str, Any], files: Sequence[str]) -> str:
    return ""


@dataclass(frozen=True)
class Target:
    """One target of export.

    Attributes:
        name: what ``--to`` calls it, and its folder in ``export/``.
        recipe_parts: the parts of the recipe that decide what is written, by dotted key.
        write: writes the folder from the recipe, the Hugging Face folder and the output folder.
        kind_of: the kind of a file by its name, such as ``int8``, or None for files next to the weights.
        tolerances: by kind of file, how far its results may differ from the model's.
        packages: Python packages that writing needs, installed by ``aurelius-lm[NAME]``.
        preflight: raises before any work if the recipe's model could not be written.
        published_as: the file's path in the published repository, or None if it is not published.
        possible_files: all paths in a repository that the target may have published.
        card_section: the part of the model card on the published files of this target.
    """

    name: str
    recipe_parts: tuple[str, ...]
    write: Callable[[Recipe, Path, Path, Progress], None]
    kind_of: Callable[[str], str | None]
    tolerances: Mapping[str, Tolerance] = field(default_factory=dict)
    packages: Collection[str] = ()
    preflight: Callable[[Recipe], None] = _nothing
    published_as: Callable[[str], str | None] = lambda name: None
    possible_files: Callable[[Recipe], list[str]] = lambda recipe: []
    card_section: Callable[[Mapping[str, Any], Sequence[str]], str] = _no_section
