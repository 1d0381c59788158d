"""A corpus too large for one machine: its stories are cleaned by the tasks of a datatrove executor.

datatrove (https://github.com/huggingface/datatrove) starts the tasks, locally or through Slurm, and repeats
those that fail. Which shard a batch of stories becomes does not depend on the task that makes it, so the
corpus is the same, byte for byte, as from one machine.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from aurelius.config.recipe import Recipe
from aurelius.corpus import build as corpus
from aurelius.pipeline.run import create
from aurelius.run_paths import RunPaths


def clean(
    recipe: "str | Path | Recipe", out: "str | Path", overrides: Mapping[str, Any] | None = None
) -> Callable[..., Iterator[Any]]:
    """Make the run folder, and return the step of a datatrove pipeline that cleans the recipe's stories.

    Afterwards ``aurelius corpus OUT`` does the rest of the stage. The folder and the source must be visible
    to all tasks.

    Raises:
        AureliusError: as `aurelius.run`.
    """
    run = RunPaths(create(recipe, out, overrides).folder.absolute())
    corpus.prepare_work(Recipe.load(run.folder), run.corpus)
    return partial(_clean, str(run.folder))


def _clean(folder: str, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
    run = RunPaths(Path(folder))
    corpus.make_shards(Recipe.load(run.folder), run.corpus, rank=rank, world_size=world_size)
    yield from data or ()
