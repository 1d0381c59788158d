"""Training by several processes that ``torchrun`` started; all earlier stages are done before, by one."""

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from aurelius.config.recipe import Recipe
from aurelius.corpus.readers.hub import working_clock
from aurelius.errors import RunError, suggest
from aurelius.pipeline.execute import do, is_done
from aurelius.pipeline.manifest import Manifest
from aurelius.pipeline.request import reconcile, resolve
from aurelius.pipeline.run import locked, plan_minutes
from aurelius.pipeline.run_folder import RunFolder
from aurelius.pipeline.stages import Job, train, wanted
from aurelius.progress import SILENT, Progress
from aurelius.run_paths import RunPaths

TRAINING = "training"


def train_together(
    recipe: "str | Path | Recipe",
    out: "str | Path | None" = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    minutes: float | None = None,
    device: str = "auto",
    auto_batch: bool = False,
    track: Iterable[str] = (),
    progress: Progress = SILENT,
) -> RunFolder:
    """Train a run whose tokens are packed, in every process of a ``torchrun`` call.

    The arguments are those of `run`. The first process reconciles the recipe and writes the manifest.

    Raises:
        RunError: the earlier stages are not done yet.
        AureliusError: as `run`.
    """
    from aurelius.device import pick
    from aurelius.training.distributed import process_group

    began = working_clock()
    requested, paths = resolve(recipe, out, overrides or {}, minutes)
    with process_group(pick(device)) as world, locked(paths) if world.is_first else nullcontext():
        stage, due, job = wanted(TRAINING)[-1], False, None
        if world.is_first:
            require_packed(paths)
            settled = reconcile(requested, paths, update=False, progress=progress)
            due = not is_done(stage, settled, paths, False, False, progress)
            job = Job(settled, paths, paths.training, device, progress, auto_batch, tuple(track), began=began)
            if due:
                job = plan_minutes(job, processes=world.size)
        if not world.highest(due):  # the others wait here until the recipe is settled
            return RunFolder(paths.folder)
        if job:
            do(stage, job)
        else:
            settled = Recipe.load(paths.folder)
            train(Job(settled, paths, paths.training, device, SILENT, auto_batch))
        world.highest(0)  # all of them disconnect at once
    return RunFolder(paths.folder, [TRAINING])


def require_packed(run: RunPaths) -> None:
    """Raise `RunError` if the stages before training are not done."""
    for folder in (run.corpus, run.tokenizer, run.tokens):
        if Manifest.read(folder) is None:
            raise RunError(
                f"{folder} is not finished; torchrun only trains. First run, without torchrun: "
                f"{suggest('pack', run.folder)}"
            )
