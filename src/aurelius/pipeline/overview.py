"""What is known about the runs of a folder, without opening a model."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

from aurelius.config.recipe import Recipe
from aurelius.errors import AureliusError, first_line
from aurelius.files import read_json
from aurelius.pipeline.stages import STAGES
from aurelius.run_paths import MANIFEST, RECIPE, RunPaths
from aurelius.training.metrics import read_metrics

STATES = {  # by the last stage done; those after evaluation are exports
    "corpus": "corpus read",
    "tokenizer": "tokenizer trained",
    "tokens": "packed",
    "training": "trained",
    "evaluation": "evaluated",
}


@dataclass(frozen=True)
class Overview:
    """A run at a glance. ``state`` is what is done, or how far training is; ``age`` in seconds."""

    name: str
    corpus: str
    parameters: int
    tokens: int
    bits_per_byte: float | None
    state: str
    age: float

    def as_json(self) -> dict[str, Any]:
        """Return the values."""
        return asdict(self) | {"age": round(self.age)}


def overviews(folder: Path) -> Iterator[Overview]:
    """Yield the runs in ``folder``, the one worked on last first."""
    runs = [RunPaths(path.parent) for path in folder.glob(f"*/{RECIPE}")]
    yield from (overview(run) for run in sorted(runs, key=_touched, reverse=True))


def overview(run: RunPaths) -> Overview:
    """Describe a run; one that is damaged says so in its state."""
    age = time.time() - _touched(run)
    try:
        recipe = Recipe.load(run.folder)
        lines = read_metrics(run.training)
        report = read_json(run.report_file) if run.report_file.is_file() else None
    except AureliusError as error:
        return Overview(run.folder.name, "", 0, 0, None, f"damaged: {first_line(error)}", age)
    sources = [recipe.corpus.source] if isinstance(recipe.corpus.source, str) else recipe.corpus.source
    done = [stage.name for stage in STAGES if (run.folder / stage.folder / MANIFEST).exists()]
    state = STATES.get(done[-1], "exported") if done else "only a recipe"
    if lines and "training" not in done:
        state = f"training, {lines[-1]['step']:,} of {recipe.training.steps:,} steps"
    return Overview(
        run.folder.name,
        ", ".join(PurePath(source).name for source in sources),
        recipe.parameters,
        lines[-1]["tokens"] if lines else 0,
        report["documentwise"]["bits_per_byte"] if report else None,
        state,
        age,
    )


def _touched(run: RunPaths) -> float:
    """Return when a run last changed (seconds since the epoch)."""
    files = [run.recipe_file, run.metrics_file, *run.folder.glob(f"*/{MANIFEST}")]
    return max(path.stat().st_mtime for path in files if path.exists())
