"""Continuing a finished run: from its last weights, with the rate up again and a decay of its own.

Source: Wen et al. 2024 (WSD-S), arXiv 2410.05192. Going back to the checkpoint from before the decay, whose
time would then be lost, ended 0.015 bits per byte higher; docs/log.md has the figures.
"""

import shutil

from aurelius.config.recipe import Recipe
from aurelius.errors import RecipeError, RunError, suggest
from aurelius.files import write_json
from aurelius.model.checkpoint_folder import newest_checkpoint, read_state
from aurelius.pipeline import stages
from aurelius.pipeline.manifest import Manifest
from aurelius.pipeline.request import write_recipe
from aurelius.progress import Progress
from aurelius.run_paths import CLOCK, METRICS, RunPaths

STARTING = 4.0  # seconds to import and load before training goes on


def prepare(run: RunPaths, minutes: float, progress: Progress) -> Recipe:
    """Open a run's training again, with ``minutes`` more for all that follows.

    What it had trained, measured and exported is kept in ``superseded/``. Return its new recipe.

    Raises:
        RecipeError: ``minutes`` is not above 0.
        RunError: it is not a run that has finished training.
    """
    if not minutes > 0:
        raise RecipeError(f"more-minutes is {minutes:g}; it must be above 0")
    if not run.is_run or Manifest.read(run.training) is None:
        raise RunError(
            f"{run.folder} has not finished training, so it cannot be continued; "
            f"{suggest('run', run.folder)} resumes it"
        )
    recipe = Recipe.load(run.folder)
    last = newest_checkpoint(run.training)
    state = read_state(last)
    later = [Manifest.read(run.folder / stages.folder(name)) for name in ("evaluation", "export")]
    rest = STARTING + sum(manifest.seconds for manifest in later if manifest)
    added = max(60 * minutes - rest, 0.1 * 60 * minutes)
    seconds = state["seconds"] + added
    falling = recipe.training.decay * seconds
    peak = min(1.0, max(added / falling, recipe.training.final_rate)) if falling else 1.0
    budget = (recipe.training.minutes or state["seconds"] / 60) + minutes
    begun = [name for name in stages.with_following(["training"]) if stages.has_begun(run, name)]
    fresh = run.folder / ".training.tmp"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    shutil.copytree(last, fresh / last.name)
    shutil.copy(run.training / METRICS, fresh)
    clock = {"seconds": round(seconds, 3), "begin": state["step"], "peak": round(peak, 4), "decisions": []}
    write_json(fresh / CLOCK, clock)
    stages.set_aside(run, begun, progress)
    fresh.rename(run.training)
    continued = recipe.with_(**{"training.minutes": budget, "training.steps": recipe.training.steps})
    write_recipe(run, continued)
    progress.note(f"continuing from step {state['step']:,}")
    return continued
