"""The stages in order: what each gets, what decides its result, and where its folder is.

Six make a run; those that write the model for further runtimes are done on request. A stage's module is
imported when it is due, because PyTorch and the like take seconds to import.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aurelius.config.compatibility import deciding
from aurelius.config.recipe import SECTIONS, Recipe
from aurelius.config.settings import IMPORTED
from aurelius.errors import RunError
from aurelius.export import registry
from aurelius.export.target import Target
from aurelius.progress import Progress
from aurelius.run_paths import RunPaths


@dataclass(frozen=True)
class Job:
    """What a stage's work gets."""

    recipe: Recipe
    run: RunPaths
    out: Path
    device: str
    progress: Progress
    auto_batch: bool = False
    track: tuple[str, ...] = ()
    workers: int = 1
    stories: Iterable[str | Mapping[str, Any]] | None = None
    began: float = 0.0  # when the command did, on the `working_clock`
    seconds: float | None = None  # that training may take

    @property
    def located(self) -> Recipe:
        """The recipe, with the run's own imported model by its path."""
        recipe, imported = self.recipe, str(self.run.imported)
        if recipe.tokenizer.source == IMPORTED:
            recipe = recipe.with_(**{"tokenizer.source": imported})
        if recipe.training.start == IMPORTED:
            recipe = recipe.with_(**{"training.start": imported})
        return recipe


def _corpus(job: Job) -> list[Path]:
    from aurelius.corpus import build as corpus

    return corpus.build(job.recipe, job.out, job.progress, job.workers, job.stories)


def _tokenizer(job: Job) -> list[Path]:
    from aurelius.tokenizer.build import build

    return build(job.located, job.run.corpus, job.out, job.progress)


def _tokens(job: Job) -> None:
    from aurelius.tokenizer.pack import build

    build(job.run.corpus, job.run.tokenizer, job.out, job.progress)


def _training(job: Job) -> list[Path]:
    train(job)
    start = job.located.training.start
    if not start:
        return []
    from aurelius.model.hf_folder import WEIGHTS, weight_files

    files = [Path(start) / "config.json", *weight_files(Path(start) / WEIGHTS)]
    return [file for file in files if file.exists()]


def train(job: Job) -> None:
    """Train, in this process alone or as one of several.

    Raises:
        TokenizerError: the weights to start from have another tokenizer.
    """
    from aurelius.tokenizer.load import check_same
    from aurelius.training import loop

    recipe = job.located
    if recipe.training.start:
        check_same(job.run.tokenizer_file, Path(recipe.training.start) / "tokenizer.json")
    loop.train(
        recipe,
        job.run.tokens,
        job.out,
        device=job.device,
        seconds=job.seconds,
        auto_batch=job.auto_batch,
        track=job.track,
        progress=job.progress,
    )


def _evaluation(job: Job) -> None:
    from aurelius.evaluation import build as evaluation

    evaluation.build(job.recipe, job.run.folder, job.out, device=job.device, progress=job.progress)


def _export(job: Job) -> None:
    from aurelius.export import huggingface

    huggingface.write(job.recipe, job.run.folder, job.out)


def _export_card(job: Job) -> list[str]:
    from aurelius.export import huggingface

    return [huggingface.write_card(job.recipe, job.run.folder, job.out)]


def _write_target(target: Target, job: Job) -> None:
    target.write(job.recipe, job.run.huggingface, job.out, job.progress)


@dataclass(frozen=True)
class Stage:
    """One stage: the parts of the recipe and the earlier stages that decide what it writes."""

    name: str
    parts: tuple[str, ...]
    after: tuple[str, ...]
    work: Callable[[Job], list[Path] | None]
    resumes: bool = False
    path: str = ""  # of its folder in the run, if that is not its name
    optional: bool = False  # done only on request
    shared: bool = False  # may be taken over from a run next to this one
    refresh: Callable[[Job], list[str]] | None = None  # writes what operational fields change; names files

    @property
    def folder(self) -> str:
        """The stage's folder in the run."""
        return self.path or self.name

    def part(self, recipe: Recipe) -> dict[str, Any]:
        """Return the parts of the recipe that a manifest records."""
        values = recipe.model_dump()
        parts = {name: values[name] for name in self.parts if "." not in name}
        for section, key in (name.split(".") for name in self.parts if "." in name):
            parts[f"{section}.{key}"] = values[section][key]
        return parts

    def deciding_part(self, recorded: Mapping[str, Any]) -> dict[str, Any]:
        """Return what decides the stage's result, comparable across versions of Aurelius."""
        return deciding(recorded, SECTIONS)

    def reads(self, key: str) -> bool:
        """Whether the stage depends on the recipe's value under a dotted key."""
        return key in self.parts or key.split(".")[0] in self.parts


STAGES = (
    Stage("corpus", ("corpus",), (), _corpus, resumes=True, shared=True),
    Stage("tokenizer", ("tokenizer",), ("corpus",), _tokenizer, shared=True),
    Stage("tokens", (), ("corpus", "tokenizer"), _tokens, shared=True),
    Stage("training", ("model", "training", "optimizer"), ("tokens",), _training, resumes=True),
    Stage("evaluation", ("evaluation", "generation"), ("corpus", "tokenizer", "training"), _evaluation),
    Stage(
        "export",
        ("name", "model", "generation", "export.corpus_license"),
        ("corpus", "tokenizer", "training", "evaluation"),
        _export,
        path="export/huggingface",
        refresh=_export_card,
    ),
    *(
        Stage(
            target.name,
            target.recipe_parts,
            ("export",),
            partial(_write_target, target),
            path=f"export/{target.name}",
            optional=True,
        )
        for target in registry.targets()
    ),
)
NAMES = tuple(stage.name for stage in STAGES if not stage.optional)


def wanted(until: str, to: Collection[str] = ()) -> list[Stage]:
    """Return the stages up to ``until``, and the optional ones among ``to``.

    Raises:
        RunError: there is no such stage or target, or targets are asked for without the stage before them.
    """
    if until not in NAMES:
        raise RunError(f"there is no stage '{until}'; the stages are {', '.join(NAMES)}")
    if unknown := [name for name in to if name not in registry.NAMES]:
        raise RunError(f"there is no target '{unknown[0]}'; the targets are {', '.join(registry.NAMES)}")
    if to and until != NAMES[-1]:
        raise RunError(
            f"'{next(iter(to))}' is written after the stage {NAMES[-1]}, but until='{until}' ends before it; "
            "pass only one of the two"
        )
    return [s for s in STAGES if (s.name in to if s.optional else NAMES.index(s.name) <= NAMES.index(until))]


def folder(name: str) -> str:
    """Return a stage's folder in the run, by the stage's name."""
    return next(stage.folder for stage in STAGES if stage.name == name)


def has_begun(run: RunPaths, name: str) -> bool:
    """Whether there is anything in a stage's folder."""
    path = run.folder / folder(name)
    return path.is_dir() and any(path.iterdir())


def with_following(names: list[str]) -> list[str]:
    """Return the named stages and all that build on them, in order."""
    found: list[str] = []
    for stage in STAGES:
        if stage.name in names or set(found) & set(stage.after):
            found.append(stage.name)
    return found


def shown(affected: list[str], begun: list[str]) -> list[str]:
    """Leave out optional stages that were never done."""
    return [name for name in affected if name in NAMES or name in begun]


def set_aside(run: RunPaths, names: list[str], progress: Progress) -> None:
    """Move stage folders to ``superseded/``, the last stage first, so that a kill leaves no orphan."""
    for name in reversed(names):
        old = run.folder / folder(name)
        if not old.exists():
            continue
        run.superseded.mkdir(exist_ok=True)
        number = 1
        while (kept := run.superseded / f"{name}-{number}").exists():
            number += 1
        old.rename(kept)
        progress.note(f"{name}: the old one is kept as {kept}")
