"""Compare models on the same documents: what differs in their recipes, their figures, paired differences."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurelius.config.recipe import Recipe
from aurelius.corpus.readers.reader import ReadOptions
from aurelius.data.stories import StoryFile
from aurelius.errors import CompareError
from aurelius.evaluation.likelihood import Scores, score
from aurelius.evaluation.paired import Difference, difference
from aurelius.inference.language_model import LanguageModel
from aurelius.inference.open_model import open_model
from aurelius.progress import SILENT, Progress
from aurelius.run_paths import RunPaths, named_run
from aurelius.training.metrics import read_metrics

NAMES = ("name", "description", "training.seed")  # what may differ between seeds of one recipe
Curve = list[tuple[int, float]]


@dataclass(frozen=True)
class Model:
    """One model that is compared. ``values`` are its recipe's by key, empty for a model that is not a run."""

    name: str
    parameters: int
    scores: Scores
    values: dict[str, Any] = field(default_factory=dict)
    trained_tokens: int | None = None
    curve: Curve = field(default_factory=list)  # tokens trained on, held-out bits per byte

    @property
    def recipe(self) -> dict[str, Any]:
        """The values that decide the result, but for the seed; models that agree on them are seeds of one."""
        return {k: v for k, v in self.values.items() if k not in NAMES and not Recipe.is_operational(k)}


@dataclass(frozen=True)
class Side:
    """Models that differ in their seed alone; one model, or one that is not a run, is a side by itself."""

    models: list[Model]

    @property
    def name(self) -> str:
        """The names of its models."""
        return ", ".join(model.name for model in self.models)

    @property
    def seeds(self) -> list[int]:
        """The seeds of its models; none for a model that is not a run."""
        return [m.values["training.seed"] for m in self.models if m.values]

    def total(self, seeds: Sequence[int]) -> NDArray[np.float64]:
        """Return the nats of the text [S, N] of the models with ``seeds``, in this order; of all without."""
        chosen = {m.values.get("training.seed"): m for m in self.models}
        models = [chosen[seed] for seed in seeds] or self.models
        return np.stack([model.scores.text for model in models])


@dataclass(frozen=True)
class Comparison:
    """What `compare` found. Differences are of the text alone, each side minus the first one."""

    documents: str
    count: int
    bytes: int
    sides: list[Side]
    differences: list[Difference]  # of every side but the first to the first one
    notes: list[str]

    @property
    def changes(self) -> dict[str, list[Any]]:
        """The values, by side, of each recipe key on which runs differ; None for what is not a run."""
        values = [side.models[0].recipe for side in self.sides]
        runs = [table for table in values if table]
        keys = dict.fromkeys(key for table in runs for key in table)
        different = [key for key in keys if any(t.get(key) != runs[0].get(key) for t in runs)]
        return {key: [table.get(key) for table in values] for key in different}

    def as_json(self) -> dict[str, Any]:
        """Return everything for programs."""
        return {
            "documents": {"name": self.documents, "count": self.count, "bytes": self.bytes},
            "models": [
                {
                    "name": model.name,
                    "parameters": model.parameters,
                    "trained_tokens": model.trained_tokens,
                    **model.scores.likelihood().as_json(),
                    "curve": model.curve,
                }
                for side in self.sides
                for model in side.models
            ],
            "recipe": {"sides": [side.name for side in self.sides], "values": self.changes},
            "differences": [
                {"of": side.name, "to": self.sides[0].name, **found.as_json()}
                for side, found in zip(self.sides[1:], self.differences, strict=True)
            ],
            "notes": self.notes,
        }


def compare(
    sources: "Sequence[str | Path]",
    on: "str | Path | None" = None,
    *,
    options: ReadOptions | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Comparison:
    """Score models on the same documents and compare them with the first.

    Args:
        sources: what `aurelius.open_model` opens: runs, model folders, hf:owner/name.
        on: a file of documents, taken unchanged; by default the held-out stories of the runs.
        options: how the file is read.
        device: auto, cpu, cuda or mps.
        progress: reports the windows scored.

    Raises:
        CompareError: fewer than two models, or runs with different held-out stories and no file.
        ModelError, CorpusError, HubError: a model or the file cannot be opened.
    """
    if len(sources) < 2:
        raise CompareError("comparing needs at least two models; name a second run or model folder")
    runs = [run for source in sources if (run := named_run(source))]
    notes = []
    if on is not None:
        from aurelius.corpus.readers.sources import open_path

        name, texts = str(on), [t for t in open_path(Path(on), options or ReadOptions()).stories if t]
    else:
        name, texts = _held_out(runs)
        if len(runs) < len(sources):
            notes.append("whether models that are not runs have seen these stories in training is not known")
    models = []
    for source in sources:
        model = open_model(source, device)
        models.append(_model(source, model, score(model, texts, progress)))
    sides = _sides(models)
    differences = [_difference(sides[0], side) for side in sides[1:]]
    if any(found.seeds == 1 for found in differences):
        notes.append(
            "without two seeds that both sides have, an interval covers other documents, but not another "
            "training with another seed, which may differ by more"
        )
    return Comparison(name, len(texts), int(models[0].scores.sizes.sum()), sides, differences, notes)


def _difference(first: Side, second: Side) -> Difference:
    """Compare two sides over the seeds that both have, or, without two such seeds, their means."""
    sizes = first.models[0].scores.sizes
    seeds = [seed for seed in first.seeds if seed in second.seeds]
    if len(seeds) >= 2:
        return difference(first.total(seeds), second.total(seeds), sizes)
    return difference(first.total([]).mean(0), second.total([]).mean(0), sizes)


def _held_out(runs: list[Path]) -> tuple[str, list[str]]:
    """Return the held-out stories that all runs have in common."""
    if not runs:
        raise CompareError(
            "none of these models is a run, so there are no held-out stories: name a file with --on"
        )
    first, *others = [list(StoryFile(RunPaths(run).corpus, "valid")) for run in runs]
    for run, texts in zip(runs[1:], others, strict=True):
        if texts != first:
            raise CompareError(
                f"{runs[0]} and {run} hold out different stories, so their own figures do not compare: name "
                "a file of stories that neither was trained on with --on"
            )
    return f"the held-out stories of {runs[0].name}", first


def _model(source: "str | Path", model: LanguageModel, scores: Scores) -> Model:
    run = named_run(source)
    if run is None:
        return Model(model.name, model.parameters, scores)
    lines = read_metrics(RunPaths(run).training)
    key = "valid_bits_per_byte"
    curve = [(line["tokens"], line[key]) for line in lines if key in line]
    tokens = lines[-1]["tokens"] if lines else None
    return Model(run.name, model.parameters, scores, Recipe.load(run).flat(), tokens, curve)


def _sides(models: list[Model]) -> list[Side]:
    sides: list[Side] = []
    for model in models:
        same = [s for s in sides if model.values and s.models[0].recipe == model.recipe]
        if same and model.values["training.seed"] not in same[0].seeds:
            same[0].models.append(model)
        else:
            sides.append(Side([model]))
    return sides
