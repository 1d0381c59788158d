"""The stages in order: what each is given, what decides its result, and where its work is.

Six make a run; those that write the model for further runtimes are done when asked for.

A stage's module is imported when its turn comes, since PyTorch and its kin take seconds.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurelius.config.recipe import Recipe
from aurelius.config.sections import IMPORTED
from aurelius.errors import RunError
from aurelius.export import registry as export
from aurelius.export.registry import targets
from aurelius.export.target import Target
from aurelius.progress import Progress

if TYPE_CHECKING:
    from aurelius.training.distributed import Team


@dataclass(frozen=True)
class Job:
    """What a stage's work is given."""

    recipe: Recipe
    run: Path
    out: Path
    device: str
    progress: Progress
    auto_batch: bool = False
    track: tuple[str, ...] = ()
    workers: int = 1
    stories: Iterable[str | Mapping[str, Any]] | None = None
    team: "Team | None" = None


def _located(job: Job) -> Recipe:
    """Return the recipe with the paths of the model within the run, if there is one."""
    recipe, inside = job.recipe, job.run / IMPORTED
    if recipe.tokenizer.source == IMPORTED:
        recipe = recipe.with_(**{"tokenizer.source": str(inside)})
    if recipe.training.start == IMPORTED:
        recipe = recipe.with_(**{"training.start": str(inside)})
    return recipe


def _corpus(job: Job) -> list[Path]:
    from aurelius.corpus import build as corpus

    return corpus.build(job.recipe, job.out, job.progress, job.workers, job.stories)


def _tokenizer(job: Job) -> list[Path]:
    from aurelius.tokenizer.build import build

    return build(_located(job), job.run / "corpus", job.out, job.progress)


def _tokens(job: Job) -> None:
    from aurelius.tokenizer.pack import build

    build(job.run / "corpus", job.run / "tokenizer", job.out, job.progress)


def _training(job: Job) -> list[Path]:
    if job.team:
        job.team.tell(True)
    train(job)
    if job.team:
        job.team.leave()
    start = _located(job).training.start
    files = [Path(start) / name for name in ("config.json", "model.safetensors")] if start else []
    return [file for file in files if file.exists()]


def train(job: Job) -> None:
    """Train, alone or as one of several processes."""
    from aurelius.training import loop

    loop.train(
        _located(job),
        job.run / "tokens",
        job.out,
        device=job.device,
        auto_batch=job.auto_batch,
        track=job.track,
        progress=job.progress,
    )


def _evaluation(job: Job) -> None:
    from aurelius.evaluation import build as evaluation

    evaluation.build(job.recipe, job.run, job.out, device=job.device, progress=job.progress)


def _export(job: Job) -> None:
    from aurelius.export import huggingface

    huggingface.write(job.recipe, job.run, job.out)


def _write_target(target: Target, job: Job) -> None:
    target.write(job.recipe, job.run / "export/huggingface", job.out, job.progress)


@dataclass(frozen=True)
class Stage:
    """One stage: the parts of the recipe and the earlier stages that decide what it writes."""

    name: str
    parts: tuple[str, ...]
    after: tuple[str, ...]
    work: Callable[[Job], list[Path] | None]
    resumes: bool = False
    place: str = ""  # where in the run, if not under its name
    optional: bool = False  # done only when asked for

    @property
    def folder(self) -> str:
        """The stage's folder within the run."""
        return self.place or self.name

    def part(self, recipe: Recipe) -> dict[str, Any]:
        """Return the stage's part of the recipe."""
        there = recipe.model_dump()
        found = {name: there[name] for name in self.parts if "." not in name}
        for section, key in (name.split(".") for name in self.parts if "." in name):
            found[f"{section}.{key}"] = there[section][key]
        return found

    def reads(self, key: str) -> bool:
        """Whether the stage depends on the recipe's value under a dotted key."""
        return key in self.parts or key.split(".")[0] in self.parts


STAGES = (
    Stage("corpus", ("corpus",), (), _corpus, resumes=True),
    Stage("tokenizer", ("tokenizer",), ("corpus",), _tokenizer),
    Stage("tokens", (), ("corpus", "tokenizer"), _tokens),
    Stage("training", ("model", "training"), ("tokens",), _training, resumes=True),
    Stage("evaluation", ("evaluation", "generation"), ("corpus", "tokenizer", "training"), _evaluation),
    Stage(
        "export",
        ("name", "model", "generation"),
        ("corpus", "tokenizer", "training", "evaluation"),
        _export,
        place="export/huggingface",
    ),
    *(
        Stage(
            target.name,
            target.recipe_parts,
            ("export",),
            partial(_write_target, target),
            place=f"export/{target.name}",
            optional=True,
        )
        for target in targets()
    ),
)
NAMES = tuple(stage.name for stage in STAGES if not stage.optional)


def wanted(until: str, to: Collection[str] = ()) -> list[Stage]:
    """Return the stages up to ``until``, and the optional ones among ``to``.

    Raises:
        RunError: there is no such stage or target.
    """
    if until not in NAMES:
        raise RunError(f"there is no stage '{until}'; the stages are {', '.join(NAMES)}")
    if unknown := [name for name in to if name not in export.NAMES]:
        raise RunError(f"there is no target '{unknown[0]}'; the targets are {', '.join(export.NAMES)}")
    return [s for s in STAGES if (s.name in to if s.optional else NAMES.index(s.name) <= NAMES.index(until))]


def folder(name: str) -> str:
    """Return a stage's folder within the run, by the stage's name."""
    return next(stage.folder for stage in STAGES if stage.name == name)


def with_following(names: list[str]) -> list[str]:
    """Return the named stages and all that build on them, in order."""
    found: list[str] = []
    for stage in STAGES:
        if stage.name in names or set(found) & set(stage.after):
            found.append(stage.name)
    return found
