"""The six stages in order, and when one has to be done.

A stage whose manifest is there and matches is left alone; one without a manifest is done, or, in training,
gone on with; one that no longer matches is refused, or, under ``update``, set aside and done anew.
"""

import errno
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aurelius.artifacts import MANIFEST, Entry, Manifest, describe, write_bytes
from aurelius.errors import RunError, StorageError
from aurelius.progress import SILENT, Progress
from aurelius.recipe import Recipe

RECIPE = "recipe.toml"
ASIDE = "superseded"


@dataclass(frozen=True)
class Job:
    """What a stage's work is given."""

    recipe: Recipe
    run: Path
    out: Path
    device: str
    progress: Progress


def _corpus(job: Job) -> list[Path]:
    from aurelius import corpus

    return corpus.build(job.recipe, job.out, job.progress)


def _tokenizer(job: Job) -> None:
    from aurelius import tokenizer

    tokenizer.build(job.recipe, job.run / "corpus", job.out, job.progress)


def _tokens(job: Job) -> None:
    from aurelius import tokens

    tokens.build(job.run / "corpus", job.run / "tokenizer", job.out, job.progress)


def _training(job: Job) -> None:
    from aurelius.training import train

    train(job.recipe, job.run / "tokens", job.out, device=job.device, progress=job.progress)


def _evaluation(job: Job) -> None:
    from aurelius import evaluation

    evaluation.build(job.recipe, job.run, job.out, device=job.device, progress=job.progress)


def _export(job: Job) -> None:
    from aurelius import export

    export.build(job.recipe, job.run, job.out, job.progress)


@dataclass(frozen=True)
class Stage:
    """One stage: the parts of the recipe and the earlier stages that decide what it writes."""

    name: str
    parts: tuple[str, ...]
    after: tuple[str, ...]
    work: Callable[[Job], list[Path] | None]
    resumes: bool = False

    def part(self, recipe: Recipe) -> dict[str, Any]:
        """Return the stage's part of the recipe."""
        return recipe.model_dump(include=set(self.parts))


STAGES = (
    Stage("corpus", ("corpus",), (), _corpus),
    Stage("tokenizer", ("tokenizer",), ("corpus",), _tokenizer),
    Stage("tokens", (), ("corpus", "tokenizer"), _tokens),
    Stage("training", ("model", "training"), ("tokens",), _training, resumes=True),
    Stage(
        "evaluation", ("evaluation", "generation"), ("corpus", "tokenizer", "tokens", "training"), _evaluation
    ),
    Stage(
        "export", ("name", "model", "generation"), ("corpus", "tokenizer", "training", "evaluation"), _export
    ),
)
NAMES = tuple(stage.name for stage in STAGES)


@dataclass
class Run:
    """A run folder, its recipe as resolved, and the stages that this call did."""

    folder: Path
    recipe: Recipe
    done: list[str] = field(default_factory=list)


def run(
    recipe: "str | Path | Recipe",
    out: "str | Path | None" = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    minutes: float | None = None,
    until: str = "export",
    update: bool = False,
    verify: bool = False,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Run:
    """Bring a run folder up to date, stage by stage.

    Args:
        recipe: a shipped recipe's name, a .toml file, a `Recipe`, or a run folder (its own recipe).
        out: the run folder; ``runs/<name of the recipe>`` by default.
        overrides: values by dotted key, such as ``{"training.steps": 2000}``.
        minutes: a budget that replaces ``training.steps``; turned into steps once, before training.
        until: the last stage to do.
        update: set stages that no longer match aside (in ``superseded/``) and do them anew.
        verify: hash every artifact again instead of trusting sizes and times.
        device: auto, cpu, cuda or mps.
        progress: told what happens.

    Raises:
        AureliusError: see the stages; `RunError` where the folder comes from another recipe or is damaged,
            `StorageError` where the disk refuses.
    """
    asked, folder = _resolve(recipe, out, dict(overrides or {}), minutes)
    if device != "auto":  # a mistake shows before the first stage, not at the fourth
        from aurelius.device import pick

        pick(device)
    try:
        settled = _settle(asked, folder, update, progress)
        result = Run(folder, settled)
        for stage in STAGES[: NAMES.index(until) + 1]:
            if _is_done(stage, result, update, verify, progress):
                continue
            if stage.name == "training":
                result.recipe = _budget(result, device, progress)
            _do(stage, result, device, progress)
    except OSError as error:
        raise storage_error(error) from error
    return result


def storage_error(error: OSError) -> StorageError:
    """Say in one line what the disk refused and what to do about it."""
    where = f"{error.filename}: " if error.filename else ""
    advice = "finished stages and checkpoints are kept; run the same command again once that is mended"
    if error.errno == errno.ENOSPC:
        advice = "free some space and run the same command again; finished stages and checkpoints are kept"
    return StorageError(f"{where}{error.strerror or error}; {advice}")


def _resolve(
    recipe: "str | Path | Recipe", out: "str | Path | None", overrides: dict[str, Any], minutes: float | None
) -> tuple[Recipe, Path]:
    """Return the recipe asked for and the run folder."""
    if minutes is not None:
        overrides |= {"training.minutes": float(minutes), "training.steps": 0}
    if isinstance(recipe, Recipe):
        loaded = recipe.with_(**overrides)
    elif (Path(recipe) / RECIPE).is_file():
        folder = Path(recipe)
        if out is not None and Path(out) != folder:
            raise RunError(f"{folder} is a run already; to copy its recipe, give {folder / RECIPE}")
        return Recipe.load(folder / RECIPE, overrides), folder
    else:
        loaded = Recipe.load(recipe, overrides)
    return loaded, Path(out) if out is not None else Path("runs") / loaded.name


def _settle(asked: Recipe, folder: Path, update: bool, progress: Progress) -> Recipe:
    """Write the recipe into a new folder, or hold it against the one that is there."""
    path = folder / RECIPE
    if not path.is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise RunError(
                f"{folder} is neither empty nor a run (no {RECIPE}); give another folder with --out"
            )
        write_bytes(path, asked.to_toml().encode())
        return asked
    saved = Recipe.load(path)
    if asked.training.minutes and asked.training.minutes == saved.training.minutes:
        # The same budget as before: it was turned into steps then, once.
        asked = asked.with_(**{"training.steps": saved.training.steps})
    before, now = saved.flat(), asked.flat()
    changed = [key for key in now if now[key] != before[key]]
    if not changed:
        return saved
    touched = _touched({key.split(".")[0] for key in changed})
    if not update:
        fields = "".join(f"\n  {key}: {before[key]!r} there, {now[key]!r} asked" for key in changed)
        raise RunError(
            f"{folder} was made with another recipe:{fields}\n"
            f"That touches {', '.join(touched) or 'no stage'}. Give another folder with --out, "
            "or --update to redo these stages (the old ones are kept aside)"
        )
    _set_aside(folder, touched, progress)
    write_bytes(path, asked.to_toml().encode())
    return asked


def _touched(sections: set[str]) -> list[str]:
    """Return the stages that the recipe's sections decide, and all that build on them."""
    touched: list[str] = []
    for stage in STAGES:
        if sections & set(stage.parts) or set(touched) & set(stage.after):
            touched.append(stage.name)
    return touched


def _set_aside(folder: Path, stages: list[str], progress: Progress) -> None:
    """Move stage folders to ``superseded/``, last stage first so that a kill between leaves no orphan."""
    for name in reversed(stages):
        old = folder / name
        if not old.exists():
            continue
        (folder / ASIDE).mkdir(exist_ok=True)
        number = 1
        while (kept := folder / ASIDE / f"{name}-{number}").exists():
            number += 1
        old.rename(kept)
        progress.note(f"{name}: the old one is kept as {kept}")


def _is_done(stage: Stage, run: Run, update: bool, verify: bool, progress: Progress) -> bool:
    """Whether the stage's manifest is there and matches.

    Raises:
        RunError: it is there, does not match, and ``update`` is off.
    """
    folder = run.folder / stage.name
    manifest = Manifest.read(folder)
    if manifest is None:
        return False
    problem = _mismatch(stage, run, manifest, verify)
    if problem is None:
        return True
    later = _following(stage.name)
    if not update:
        raise RunError(f"{problem}. --update redoes {', '.join(later)} and keeps the old folders aside")
    progress.note(problem)
    _set_aside(run.folder, later, progress)
    return False


def _following(name: str) -> list[str]:
    """Return a stage and all that build on it."""
    found = [name]
    for stage in STAGES:
        if set(found) & set(stage.after):
            found.append(stage.name)
    return found


def _mismatch(stage: Stage, run: Run, manifest: Manifest, verify: bool) -> str | None:
    """Say what about a finished stage no longer holds, if anything."""
    folder = run.folder / stage.name
    if damaged := manifest.damaged(folder, verify):
        names = ", ".join(map(str, damaged))
        return f"{names} {'is' if len(damaged) == 1 else 'are'} missing or changed since the stage ended"
    if changed := manifest.changed_sources(verify):
        return f"{', '.join(changed)} changed since {folder} was made from it"
    if manifest.recipe != stage.part(run.recipe):
        return f"{folder} was made with another recipe than {run.folder / RECIPE}"
    if manifest.inputs != _inputs(stage, run.folder):
        return f"{folder} was made from other artifacts than those beside it"
    return None


def _inputs(stage: Stage, run: Path) -> dict[str, str]:
    """Return the hashes of the artifacts a stage builds on, as the earlier stages' manifests have them."""
    found = {}
    for name in stage.after:
        manifest = Manifest.read(run / name)
        if manifest is None:
            raise RunError(f"{run / name / MANIFEST} went missing while {stage.name} was at work")
        found |= {f"{name}/{file}": entry.sha256 for file, entry in manifest.outputs.items()}
    return found


def _budget(run: Run, device: str, progress: Progress) -> Recipe:
    """Turn a budget of minutes into steps, once; the run's recipe then says both."""
    if run.recipe.training.steps:
        return run.recipe
    from aurelius.training.budget import resolve_steps

    steps = resolve_steps(run.recipe, run.folder / "tokens", device)
    progress.note(f"{run.recipe.training.minutes:g} minutes are {steps} steps on this machine")
    resolved = run.recipe.with_(**{"training.steps": steps})
    write_bytes(run.folder / RECIPE, resolved.to_toml().encode())
    return resolved


def _do(stage: Stage, run: Run, device: str, progress: Progress) -> None:
    """Do a stage and write its manifest, last."""
    out = run.folder / stage.name
    if not stage.resumes:
        shutil.rmtree(out, ignore_errors=True)  # what a killed stage left; it never had a manifest
    out.mkdir(parents=True, exist_ok=True)
    inputs = _inputs(stage, run.folder)
    started = time.monotonic()
    sources = stage.work(Job(run.recipe, run.folder, out, device, progress)) or []
    seconds = time.monotonic() - started
    Manifest(
        stage=stage.name,
        recipe=stage.part(run.recipe),
        inputs=inputs,
        sources={str(path.absolute()): Entry.of(path) for path in sources},
        outputs=describe(out),
        seconds=round(seconds, 3),
    ).write(out)
    run.done.append(stage.name)
    progress.note(f"{stage.name}: done in {seconds:.1f} s")
