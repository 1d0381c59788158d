"""Bring a run folder up to date, stage by stage.

A stage whose manifest is there and matches is left alone. One without a manifest is done, or, for corpus and
training, resumed. One that no longer matches is refused, or, with ``update``, set aside and redone.
"""

import errno
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from aurelius.config.recipe import Recipe
from aurelius.corpus.readers.hub import working_clock
from aurelius.errors import AureliusError, RunError, StorageError, suggest
from aurelius.export import registry
from aurelius.pipeline import stages
from aurelius.pipeline.execute import do, is_done, refresh
from aurelius.pipeline.manifest import Manifest
from aurelius.pipeline.request import reconcile, resolve, write_recipe
from aurelius.pipeline.run_folder import RunFolder
from aurelius.pipeline.sharing import share
from aurelius.pipeline.stages import STAGES, Job
from aurelius.progress import SILENT, Progress
from aurelius.progress_bar import duration, if_watched
from aurelius.run_paths import AUTO, CLOCK, MANIFEST, RECIPE, RunPaths

EARLIER = ("corpus", "tokenizer", "tokens")  # the stages before training


def run(
    recipe: "str | Path | Recipe",
    out: "str | Path | None" = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    minutes: float | None = None,
    more_minutes: float | None = None,
    until: str = "export",
    to: Collection[str] = (),
    update: bool = False,
    verify: bool = False,
    fresh: bool = False,
    device: str = "auto",
    auto_batch: bool = False,
    track: Iterable[str] = (),
    workers: int = 1,
    stories: Iterable[str | Mapping[str, Any]] | None = None,
    progress: Progress | None = None,
) -> RunFolder:
    """Bring a run folder up to date, stage by stage.

    Args:
        recipe: a shipped recipe's name, a .toml file, a `Recipe`, or a run folder (its own recipe); "auto"
            is sized for the ``minutes``, this machine and the corpus.
        out: the run folder; ``runs/<name of the recipe>`` by default.
        overrides: values by dotted key, such as ``{"training.steps": 2000}``.
        minutes: how long the whole run may take, downloads and time while it is stopped aside; replaces
            ``training.steps``.
        more_minutes: continue a finished run for this long.
        until: the last stage to do.
        to: targets to export to in addition to stock transformers: onnx, gguf, page.
        update: set stages that no longer match aside (in ``superseded/``) and redo them.
        verify: hash every artifact again instead of trusting sizes and times.
        fresh: do all stages here instead of sharing those of a run next to this one.
        device: auto, cpu, cuda or mps.
        auto_batch: split a training step into as many micro-batches as the memory requires.
        track: trackers of the training in addition to metrics.jsonl: tensorboard, trackio, wandb.
        workers: processes that clean the corpus; above 1 the calling script needs a ``__main__`` guard.
        stories: read instead of ``corpus.source`` if the corpus stage is not done: any iterable of texts, or
            of rows with the text under ``corpus.column``, such as a ``datasets.Dataset``.
        progress: reports what happens; by default a bar on standard error, if that is a terminal or notebook.
            `aurelius.SILENT` reports nothing.

    Raises:
        AureliusError: see the stages; `RunError` if the folder comes from another recipe or is damaged,
            `StorageError` if the disk refuses.
    """
    began = working_clock()
    stages.wanted(until, to)  # a mistake should show before the first stage
    if workers < 1:
        raise RunError(f"workers is {workers}; at least one process has to clean the corpus")
    track, progress = tuple(track), progress or if_watched()
    if device != "auto" or track:
        from aurelius.device import pick
        from aurelius.training.trackers import check_trackers

        pick(device)
        check_trackers(track)
    try:
        notes: list[str] = []
        if more_minutes is not None and (minutes is not None or update or overrides):
            raise RunError("more_minutes continues a run as it is; leave out minutes, update and changes")
        if recipe == AUTO and more_minutes is None:
            recipe, notes = _sized(out, overrides or {}, minutes, device, progress)
        requested, paths = resolve(recipe, out, overrides or {}, minutes)
        with locked(paths):
            if more_minutes is not None:
                from aurelius.pipeline.more import prepare

                requested = prepare(paths, more_minutes, progress)
            existing = [
                s.name for s in STAGES if s.optional and (paths.folder / s.folder / MANIFEST).exists()
            ]
            wanted = stages.wanted(until, {*to, *existing} if until == "export" else to)
            new = [s.name for s in wanted if s.optional and (update or s.name not in existing)]
            registry.preflight(requested, new)
            settled = reconcile(requested, paths, update, progress, notes)
            job = Job(
                settled, paths, paths.training, device, progress, auto_batch, track, workers, stories, began
            )
            done: list[str] = []
            for stage in wanted:
                if is_done(stage, job.recipe, paths, update, verify, progress):
                    refresh(stage, job)
                    continue
                if stage.name == "training":
                    job = plan_minutes(job, done)
                borrow = not fresh and stories is None
                if not (borrow and share(stage, job.recipe, paths, verify, progress)):
                    if stage.name == "corpus" and stories is None:
                        _announce(job)
                    do(stage, job)
                done.append(stage.name)
    except BrokenPipeError:  # of the reader of our progress, not of the disk
        raise
    except OSError as error:
        raise storage_error(error) from error
    return RunFolder(paths.folder, done)


def _announce(job: Job) -> None:
    """Say before a large run how much memory and disk it takes."""
    from aurelius.device import pick
    from aurelius.pipeline.needs import needs, warning

    if text := warning(needs(job.recipe, pick(job.device).type == "cpu"), job.run.folder):
        job.progress.note(text)


def _sized(
    out: "str | Path | None",
    overrides: Mapping[str, Any],
    minutes: float | None,
    device: str,
    progress: Progress,
) -> tuple[Path | Recipe, list[str]]:
    """Return the recipe that `auto` makes and why, or the run that it was made for before."""
    from aurelius.pipeline.auto import size

    folder = Path(out) if out is not None else Path("runs") / AUTO
    if (folder / RECIPE).is_file():
        return folder, []
    sized = size(overrides, minutes, device, progress)
    for line in sized.reasons:
        progress.note(line)
    return sized.recipe, sized.reasons


def create(
    recipe: "str | Path | Recipe", out: "str | Path | None" = None, overrides: Mapping[str, Any] | None = None
) -> RunFolder:
    """Make a run folder with its recipe and nothing else, or compare the recipe with the saved one.

    Raises:
        AureliusError: as `run`.
    """
    requested, paths = resolve(recipe, out, overrides or {}, None)
    with locked(paths):
        reconcile(requested, paths, update=False, progress=SILENT)
    return RunFolder(paths.folder)


def require_trained(run: RunPaths) -> None:
    """Raise `RunError` if a run's training is not finished."""
    if not run.is_run:
        raise RunError(f"{run.folder} is not a run folder (no {RECIPE})")
    if Manifest.read(run.training) is None:
        raise RunError(
            f"{run.folder} has not finished training; {suggest('run', run.folder)} starts or resumes it"
        )


def storage_error(error: OSError) -> StorageError:
    """Say in one line what the disk refused and what to do about it."""
    where = f"{error.filename}: " if error.filename else ""
    advice = "finished stages and checkpoints are kept; fix that and run the same command again"
    if error.errno == errno.ENOSPC:
        advice = "free some space and run the same command again; finished stages and checkpoints are kept"
    return StorageError(f"{where}{error.strerror or error}; {advice}")


def plan_minutes(job: Job, done: Collection[str] = (), processes: int = 1) -> Job:
    """Plan the steps of a budget of minutes, and how long they may take; the run's recipe then has both.

    The budget is for the whole run. What earlier stages took is gone, whether they were ``done`` by this
    command or before; later ones need some, too.
    """
    recipe, minutes = job.recipe, job.recipe.training.minutes
    if not minutes or (job.run.training / CLOCK).is_file():
        return job
    from aurelius.training.timing import LEAST_SHARE, plan

    before = [Manifest.read(job.run.folder / stages.folder(name)) for name in EARLIER if name not in done]
    spent = working_clock() - job.began + sum(manifest.seconds for manifest in before if manifest)
    left = max(60 * minutes - spent, LEAST_SHARE * 60 * minutes)
    job.progress.note(f"timing some steps, to see how many fit in {minutes:g} min")
    planned = plan(recipe, job.run.tokens, left, job.device, processes, job.auto_batch)
    if planned.seconds <= 2 * LEAST_SHARE * 60 * minutes:
        job.progress.warn(
            f"{minutes:g} min are hardly enough for the other stages; training gets {planned.seconds:.0f} s"
        )
    job.progress.note(
        f"training gets {duration(planned.seconds)} of the {minutes:g} min, some {planned.steps:,} steps here"
    )
    if not recipe.training.steps:
        recipe = recipe.with_(**{"training.steps": planned.steps})
        write_recipe(job.run, recipe)
    return replace(job, recipe=recipe, seconds=planned.seconds)


@contextmanager
def locked(run: RunPaths) -> Iterator[None]:
    """Keep other processes out of a run folder while this one works in it.

    A folder that is made here is removed if the work is refused before it has begun. In one that cannot be
    written nobody can work, so it needs no lock: a finished run may be read-only.
    """
    folder, existed = run.folder, run.folder.exists()
    if folder.is_file():
        raise RunError(f"{folder} is a file, but a run is a folder: choose another with --out")
    if not run.is_run and folder.is_dir() and any(path != run.lock for path in folder.iterdir()):
        raise RunError(f"{folder} is neither empty nor a run (no {RECIPE}); choose another with --out")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run.lock, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RunError(
            f"another aurelius process is working in {folder}; wait for it, or choose another folder"
        ) from None
    except OSError as error:
        if not run.is_run or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
    try:
        yield
    except AureliusError:
        if not existed and _is_untouched(run):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        lock.release()


def _is_untouched(run: RunPaths) -> bool:
    """Whether a run folder holds nothing but its recipe and the plan of a corpus that could not be read."""
    allowed = {run.recipe_file, run.lock, run.corpus / "work" / "plan.json"}
    return all(path in allowed for path in run.folder.rglob("*") if not path.is_dir())
