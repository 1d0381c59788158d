"""Bring a run folder up to date: which stage has to be done, and when.

A stage whose manifest is there and matches is left alone; one without a manifest is done, or, in corpus and
training, gone on with; one that no longer matches is refused, or, under ``update``, set aside and done anew.
"""

import errno
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from aurelius.config.recipe import RECIPE, Recipe
from aurelius.errors import RecipeError, RunError, StorageError
from aurelius.export import registry as export
from aurelius.files import sync, write_bytes
from aurelius.pipeline import stages
from aurelius.pipeline.manifest import (
    MANIFEST,
    Entry,
    Manifest,
    describe,
)
from aurelius.pipeline.stages import (
    STAGES,
    Job,
    Stage,
    train,
    with_following,
)
from aurelius.progress import SILENT, Progress

if TYPE_CHECKING:
    from aurelius.training.distributed import Team

ASIDE = "superseded"
LOCK = ".lock"


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
    to: Collection[str] = (),
    update: bool = False,
    verify: bool = False,
    device: str = "auto",
    auto_batch: bool = False,
    track: Iterable[str] = (),
    workers: int = 1,
    stories: Iterable[str | Mapping[str, Any]] | None = None,
    progress: Progress = SILENT,
) -> Run:
    """Bring a run folder up to date, stage by stage.

    Under ``torchrun`` every process calls this with the same arguments: they train together, and the first
    does the rest.

    Args:
        recipe: a shipped recipe's name, a .toml file, a `Recipe`, or a run folder (its own recipe).
        out: the run folder; ``runs/<name of the recipe>`` by default.
        overrides: values by dotted key, such as ``{"training.steps": 2000}``.
        minutes: a budget that replaces ``training.steps``; turned into steps once, before training.
        until: the last stage to do.
        to: what the model is written for beside stock transformers: onnx, gguf.
        update: set stages that no longer match aside (in ``superseded/``) and do them anew.
        verify: hash every artifact again instead of trusting sizes and times.
        device: auto, cpu, cuda or mps.
        auto_batch: cut a training step into as many micro-batches as the memory asks for.
        track: trackers of the training beside metrics.jsonl: tensorboard, trackio, wandb.
        workers: processes that clean the corpus; above 1 the calling script needs its ``__main__`` guard.
        stories: read instead of ``corpus.source`` while the corpus stage is not done: any iterable of texts,
            or of rows with the text under ``corpus.column``, such as a ``datasets.Dataset``.
        progress: told what happens.

    Raises:
        AureliusError: see the stages; `RunError` where the folder comes from another recipe or is damaged,
            `StorageError` where the disk refuses.
    """
    stages.wanted(until, to)  # a mistake shows before the first stage
    if workers < 1:
        raise RunError(f"workers is {workers}; at least one process has to clean the corpus")
    track = tuple(track)
    if device != "auto" or track:
        from aurelius.device import pick
        from aurelius.training import metrics

        pick(device)
        metrics.check(track)
    try:
        asked, folder = _resolve(recipe, out, dict(overrides or {}), minutes)
        job = Job(asked, folder, folder / "training", device, progress, auto_batch, track, workers, stories)
        with _team(device) as team:
            if team and not team.first:
                if team.hear():
                    train(replace(job, recipe=Recipe.load(folder / RECIPE)))
                return Run(folder, asked)
            with _alone(folder):
                also = [s.name for s in STAGES if s.optional and (folder / s.folder / MANIFEST).exists()]
                wanted = stages.wanted(until, {*to, *also} if until == "export" else to)
                new = [s.name for s in wanted if s.optional and (update or s.name not in also)]
                export.preflight(asked, new)
                result = Run(folder, _settle(asked, folder, update, progress))
                for stage in wanted:
                    if not _is_done(stage, result, update, verify, progress):
                        _do(stage, result, replace(job, team=team))
    except BrokenPipeError:  # of the reader of our progress, not of the disk
        raise
    except OSError as error:
        raise storage_error(error) from error
    return result


def begin(
    recipe: "str | Path | Recipe", out: "str | Path | None" = None, overrides: Mapping[str, Any] | None = None
) -> Run:
    """Make a run folder with its recipe and nothing else, or hold the recipe against the one that is there.

    Raises:
        AureliusError: as `run`.
    """
    asked, folder = _resolve(recipe, out, dict(overrides or {}), None)
    with _alone(folder):
        return Run(folder, _settle(asked, folder, update=False, progress=SILENT))


def require_trained(folder: Path) -> None:
    """Raise `RunError` where a run's training has not ended."""
    if not (folder / RECIPE).is_file():
        raise RunError(f"{folder} is no run folder (no {RECIPE})")
    if Manifest.read(folder / "training") is None:
        raise RunError(
            f"{folder} has not finished its training; aurelius run {folder} begins it or goes on with it"
        )


@contextmanager
def _team(device: str) -> "Iterator[Team | None]":
    """Meet the other processes, where ``torchrun`` started several."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield None
        return
    from aurelius.device import pick
    from aurelius.training.distributed import joined

    with joined(pick(device)) as team:
        yield team


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
        if not minutes > 0:
            raise RecipeError(f"minutes is {minutes}; a budget is above 0")
        if "training.steps" in overrides:
            raise RecipeError("both minutes and training.steps are given; one of them is the budget")
        overrides["training.minutes"] = float(minutes)
    if "training.steps" in overrides:
        overrides.setdefault("training.minutes", 0.0)
    elif overrides.get("training.minutes"):
        overrides["training.steps"] = 0  # until they are resolved
    if isinstance(recipe, Recipe):
        loaded = recipe.with_(**overrides)
    else:
        loaded = Recipe.load(recipe, overrides)
        if (Path(recipe) / RECIPE).is_file():
            if out is not None and Path(out) != Path(recipe):
                raise RunError(f"{recipe} is a run already; to copy its recipe, give {Path(recipe) / RECIPE}")
            return loaded, Path(recipe)
    return loaded, Path(out) if out is not None else Path("runs") / loaded.name


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others out of a run folder while this process works in it."""
    path = folder / RECIPE
    if folder.is_file():
        raise RunError(f"{folder} is a file; a run is a folder: give another with --out")
    if not path.is_file() and folder.is_dir() and any(p.name != LOCK for p in folder.iterdir()):
        raise RunError(f"{folder} is neither empty nor a run (no {RECIPE}); give another folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout:
        raise RunError(
            f"another aurelius is at work in {folder}; wait for it, or give another folder"
        ) from None


def _settle(asked: Recipe, folder: Path, update: bool, progress: Progress) -> Recipe:
    """Write the recipe into a new folder, or hold it against the one that is there."""
    path = folder / RECIPE
    if not path.is_file():
        write_bytes(path, asked.to_toml().encode())
        return asked
    saved = Recipe.load(path)
    if asked.training.steps == 0 and asked.training.minutes:
        # The same budget for the same work was turned into steps before, once.
        before = asked.with_(**{"training.steps": saved.training.steps})
        if all(getattr(before, part) == getattr(saved, part) for part in ("tokenizer", "model", "training")):
            asked = before
    there, now = saved.flat(), asked.flat()
    changed = [key for key in now if now[key] != there[key]]
    if not changed:
        return saved
    touched = with_following([stage.name for stage in STAGES if any(map(stage.reads, changed))])
    places = {name: folder / stages.folder(name) for name in touched}
    begun = [name for name, place in places.items() if place.is_dir() and any(place.iterdir())]
    for given in (asked.tokenizer.source, asked.training.start):
        if given and not (where := folder / given).is_dir():  # before anything is set aside
            raise RunError(f"{where} is not there; tokenizer.source and training.start name a model's folder")
    if begun and not update:
        fields = ", ".join(f"{key} is {there[key]!r} there and {now[key]!r} here" for key in changed)
        told = ", ".join(_told(touched, begun))
        raise RunError(
            f"{folder} was made with another recipe: {fields}. That touches {told}. "
            "Give another folder with --out, or --update to redo these stages (the old ones are kept aside)"
        )
    _set_aside(folder, begun, progress)
    write_bytes(path, asked.to_toml().encode())
    return asked


def _told(touched: list[str], begun: list[str]) -> list[str]:
    """Leave out optional stages that were never done."""
    return [name for name in touched if name in stages.NAMES or name in begun]


def _set_aside(folder: Path, names: list[str], progress: Progress) -> None:
    """Move stage folders to ``superseded/``, last stage first so that a kill between leaves no orphan."""
    for name in reversed(names):
        old = folder / stages.folder(name)
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
    folder = run.folder / stage.folder
    manifest = Manifest.read(folder)
    if manifest is None:
        return False
    problem = _mismatch(stage, run, manifest, verify)
    if problem is None:
        return True
    later = with_following([stage.name])
    if not update:
        begun = [name for name in later if (run.folder / stages.folder(name)).is_dir()]
        raise RunError(
            f"{problem}. --update redoes {', '.join(_told(later, begun))} and keeps the old folders aside"
        )
    progress.note(problem)
    _set_aside(run.folder, later, progress)
    return False


def _mismatch(stage: Stage, run: Run, manifest: Manifest, verify: bool) -> str | None:
    """Say what about a finished stage no longer holds, if anything."""
    folder = run.folder / stage.folder
    if damaged := manifest.damaged(folder, verify):
        names = ", ".join(map(str, damaged))
        return f"{names} {'is' if len(damaged) == 1 else 'are'} missing or changed since the stage ended"
    if changed := manifest.changed_sources(verify):
        return f"{', '.join(changed)} changed since {folder} was made from it"
    if manifest.recipe != (now := stage.part(run.recipe)):
        parts = [name for name in now if manifest.recipe.get(name) != now[name]]
        return f"{folder} was made with another recipe than {run.folder / RECIPE} (its {', '.join(parts)})"
    if manifest.inputs != _inputs(stage, run.folder):
        return f"{folder} was made from other artifacts than those beside it"
    return None


def _inputs(stage: Stage, run: Path) -> dict[str, str]:
    """Return the hashes of the artifacts a stage builds on, as the earlier stages' manifests have them."""
    found = {}
    for name in stage.after:
        folder = run / stages.folder(name)
        manifest = Manifest.read(folder)
        if manifest is None:
            raise RunError(f"{folder / MANIFEST} went missing while {stage.name} was at work")
        found |= {f"{name}/{file}": entry.sha256 for file, entry in manifest.outputs.items()}
    return found


def _budget(run: Run, job: Job) -> Recipe:
    """Turn a budget of minutes into steps, once; the run's recipe then says both."""
    if run.recipe.training.steps or not run.recipe.training.minutes:
        return run.recipe
    from aurelius.training.timing import resolve_steps

    processes = job.team.size if job.team else 1
    steps = resolve_steps(run.recipe, run.folder / "tokens", job.device, processes, job.auto_batch)
    job.progress.note(f"{run.recipe.training.minutes:g} minutes are {steps} steps on this machine")
    resolved = run.recipe.with_(**{"training.steps": steps})
    write_bytes(run.folder / RECIPE, resolved.to_toml().encode())
    return resolved


def _do(stage: Stage, run: Run, job: Job) -> None:
    """Do a stage and write its manifest, last."""
    if stage.name == "training":
        run.recipe = _budget(run, job)
    out = run.folder / stage.folder
    if not stage.resumes:
        shutil.rmtree(out, ignore_errors=True)  # what a killed stage left; it never had a manifest
    out.mkdir(parents=True, exist_ok=True)
    inputs = _inputs(stage, run.folder)
    started = time.monotonic()
    sources = stage.work(replace(job, recipe=run.recipe, out=out)) or []
    seconds = time.monotonic() - started
    outputs = describe(out)
    for name in outputs:  # on the disk before the manifest that vouches for them
        sync(out / name)
    Manifest(
        stage=stage.name,
        recipe=stage.part(run.recipe),
        inputs=inputs,
        sources={str(path.absolute()): Entry.of(path) for path in sources},
        outputs=outputs,
        seconds=round(seconds, 3),
    ).write(out)
    run.done.append(stage.name)
    job.progress.note(f"{stage.name}: done in {seconds:.1f} s")
