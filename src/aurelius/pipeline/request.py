"""What a call asks for: the recipe and the run folder, compared with what the folder holds already."""

from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from aurelius.config import shipped
from aurelius.config.recipe import Recipe
from aurelius.errors import RecipeError, RunError
from aurelius.files import write_bytes
from aurelius.pipeline import stages
from aurelius.pipeline.stages import STAGES, with_following
from aurelius.progress import Progress
from aurelius.run_paths import RECIPE, RunPaths, named_run


def resolve(
    recipe: "str | Path | Recipe",
    out: "str | Path | None",
    overrides: Mapping[str, Any],
    minutes: float | None,
) -> tuple[Recipe, RunPaths]:
    """Return the requested recipe and its run folder.

    Raises:
        RecipeError: the recipe or an override is refused, or the budget is ambiguous.
        RunError: ``recipe`` is a run already and ``out`` is another folder.
    """
    values = dict(overrides)
    if minutes is not None:
        if not minutes > 0:
            raise RecipeError(f"minutes is {minutes}; a time budget must be above 0")
        if "training.steps" in values:
            raise RecipeError("minutes and training.steps are both given; choose one of them")
        values["training.minutes"] = float(minutes)
    if "training.steps" in values:
        values.setdefault("training.minutes", 0.0)
    elif values.get("training.minutes"):
        values["training.steps"] = 0  # until they are resolved
    if isinstance(recipe, Recipe):
        requested = recipe.with_(**values)
    else:
        requested = Recipe.load(recipe, values)
        run = None if str(recipe) in shipped.NAMES else named_run(recipe)
        if run := run or (Path(recipe) if (Path(recipe) / RECIPE).is_file() else None):
            if out is not None and Path(out) != run:
                raise RunError(f"{recipe} is a run; to copy its recipe, pass {run / RECIPE}")
            return requested, RunPaths(run)
    return requested, RunPaths(Path(out) if out is not None else Path("runs") / requested.name)


def write_recipe(run: RunPaths, recipe: Recipe, notes: Iterable[str] = ()) -> None:
    """Write a run's recipe; comments at its beginning, such as ``notes``, stay there."""
    comments = [f"# {line}" for line in notes]
    if not comments and run.is_run:
        lines = run.recipe_file.read_text(encoding="utf-8").splitlines()
        comments = list(takewhile(lambda line: line.startswith("#"), lines))
    head = "\n".join([*comments, "", ""]) if comments else ""
    write_bytes(run.recipe_file, (head + recipe.to_toml()).encode())


def reconcile(
    requested: Recipe, run: RunPaths, update: bool, progress: Progress, notes: Iterable[str] = ()
) -> Recipe:
    """Write the recipe into a new run folder, or compare it with the saved one; return what holds now.

    Fields that only operate a run may change at any time. Others need ``update`` if a stage that depends on
    them has begun; these stages are set aside.

    Raises:
        RunError: the recipes differ and ``update`` is off, or a model that the recipe names is missing.
    """
    if not run.is_run:
        write_recipe(run, requested, notes)
        return requested
    saved = Recipe.load(run.folder)
    if requested.training.steps == 0 and requested.training.minutes:
        # The same budget for the same work was turned into steps before; that happens only once.
        resolved = requested.with_(**{"training.steps": saved.training.steps})
        parts = ("tokenizer", "model", "training", "optimizer")
        if all(getattr(resolved, part) == getattr(saved, part) for part in parts):
            requested = resolved
    before, now = saved.flat(), requested.flat()
    changed = [key for key in now if now[key] != before.get(key)]
    if not changed and before.keys() == now.keys():
        return saved
    deciding = [key for key in changed if not Recipe.is_operational(key)]
    if deciding:
        _supersede(requested, run, before, now, deciding, update, progress)
    write_recipe(run, requested)
    if operational := [key for key in changed if key not in deciding and run.training.is_dir()]:
        changes = ", ".join(f"{key} from {before[key]!r} to {now[key]!r}" for key in operational)
        rounding = (
            "; sums are rounded differently from here on" if "training.accumulate" in operational else ""
        )
        progress.note(f"changed {changes}: nothing has to be redone{rounding}")
    return requested


def _supersede(
    requested: Recipe,
    run: RunPaths,
    before: dict[str, Any],
    now: dict[str, Any],
    changed: list[str],
    update: bool,
    progress: Progress,
) -> None:
    """Set aside the stages that depend on changed values, or refuse to."""
    affected = with_following([stage.name for stage in STAGES if any(map(stage.reads, changed))])
    begun = [name for name in affected if stages.has_begun(run, name)]
    for source in (requested.tokenizer.source, requested.training.start):
        if not source:
            continue
        model = run.folder / source
        if not model.is_dir():  # before anything is set aside
            raise RunError(
                f"{model} does not exist; tokenizer.source and training.start must be model folders"
            )
        for name in begun if update else ():
            if model.resolve().is_relative_to((run.folder / stages.folder(name)).resolve()):
                raise RunError(
                    f"{model} belongs to this run's stage {name}, which --update would move away; copy it "
                    "elsewhere first, or train in another folder with --out"
                )
    if begun and not update:
        fields = ", ".join(f"{key} is {before.get(key)!r} there and {now[key]!r} here" for key in changed)
        longer = " (or train longer with --more-minutes)" if "training.minutes" in changed else ""
        raise RunError(
            f"{run.folder} was made with a different recipe: {fields}. This affects "
            f"{', '.join(stages.shown(affected, begun))}. Choose another folder with --out, or redo these "
            f"stages with --update (the old ones are kept in superseded/){longer}"
        )
    stages.set_aside(run, begun, progress)
