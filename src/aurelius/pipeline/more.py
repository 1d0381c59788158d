"""Continuing a run: from the checkpoint before its decay, with more time."""

import shutil

from aurelius.config.recipe import Recipe
from aurelius.errors import RecipeError, RunError, suggest
from aurelius.files import read_json, write_json
from aurelius.model.checkpoint_folder import list_checkpoints, newest_checkpoint, read_state
from aurelius.pipeline import stages
from aurelius.pipeline.manifest import Manifest
from aurelius.pipeline.request import write_recipe
from aurelius.progress import Progress
from aurelius.run_paths import CLOCK, METRICS, RunPaths
from aurelius.training.schedule import Schedule

STARTING = 4.0  # seconds to import and load before training goes on


def prepare(run: RunPaths, minutes: float, progress: Progress) -> Recipe:
    """Set a run's training back to before its decay, with ``minutes`` more for all that follows.

    What it had trained, measured and exported since is kept in ``superseded/``. Return its new recipe.

    Raises:
        RecipeError: ``minutes`` is not above 0.
        RunError: it is not a run that has finished training, or it has no checkpoint from before its decay.
    """
    if not minutes > 0:
        raise RecipeError(f"more-minutes is {minutes:g}; it must be above 0")
    if not run.is_run or Manifest.read(run.training) is None:
        raise RunError(
            f"{run.folder} has not finished training, so it cannot be continued; "
            f"{suggest('run', run.folder)} resumes it"
        )
    recipe = Recipe.load(run.folder)
    before = run.training / f"step-{_decay_step(recipe, run):06d}"
    if before not in list_checkpoints(run.training):
        raise RunError(
            f"{run.folder} has no checkpoint from before its decay ({before.name}), where continuing would "
            "begin; train again with --minutes and --update"
        )
    trained = read_state(newest_checkpoint(run.training))["seconds"]
    later = [Manifest.read(run.folder / stages.folder(name)) for name in ("evaluation", "export")]
    rest = STARTING + sum(manifest.seconds for manifest in later if manifest)
    seconds = read_state(before)["seconds"] + max(60 * minutes - rest, 0.1 * 60 * minutes)
    budget = (recipe.training.minutes or trained / 60) + minutes
    begun = [name for name in stages.with_following(["training"]) if stages.has_begun(run, name)]
    fresh = run.folder / ".training.tmp"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    shutil.copytree(before, fresh / before.name)
    shutil.copy(run.training / METRICS, fresh)  # which resuming cuts off after that step
    write_json(fresh / CLOCK, {"seconds": round(seconds, 3), "decisions": []})
    stages.set_aside(run, begun, progress)
    fresh.rename(run.training)
    continued = recipe.with_(**{"training.minutes": budget, "training.steps": recipe.training.steps})
    write_recipe(run, continued)
    progress.note(f"continuing from step {int(before.name.removeprefix('step-')):,}, before the decay")
    return continued


def _decay_step(recipe: Recipe, run: RunPaths) -> int:
    """Return the step after which the run's rate began to fall."""
    if (run.training / CLOCK).is_file():
        decisions = read_json(run.training / CLOCK)["decisions"]
        return decisions[0]["step"]
    return Schedule(recipe.training).decay_step or recipe.training.steps
