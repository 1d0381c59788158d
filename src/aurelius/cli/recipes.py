"""``aurelius recipes`` and ``aurelius show``."""

import argparse
from typing import TYPE_CHECKING, Any

from aurelius.cli import options as common
from aurelius.cli.command import Command
from aurelius.errors import suggest

if TYPE_CHECKING:
    from aurelius.config.recipe import Recipe


def _list(options: argparse.Namespace) -> None:
    from aurelius.config import shipped
    from aurelius.config.recipe import Recipe

    recipes = [Recipe.load(name) for name in shipped.NAMES]
    if options.json:
        common.print_json(
            [{"name": r.name, "description": r.description, "parameters": r.parameters} for r in recipes]
        )
        return
    for recipe in recipes:
        print(f"{recipe.name:16}{recipe.description}")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RUN_OR_RECIPE", help=common.RUN_OR_RECIPE)
    common.add_set_option(parser)
    parser.add_argument("--time", action="store_true", help="time some steps here, for some seconds")
    common.add_json_option(parser)
    common.add_device_option(parser)


def _show(options: argparse.Namespace) -> None:
    from aurelius.config.recipe import Recipe
    from aurelius.training.memory import memory_bytes

    recipe = Recipe.load(options.recipe, common.overrides(options))
    steps = recipe.training.steps
    if options.json:
        common.print_json(_figures(recipe, options))
        return
    print(recipe.to_toml())
    print(f"# parameters        {recipe.parameters:,}")
    print(f"# tokens per step   {recipe.tokens_per_step:,}")
    print(f"# total tokens      {recipe.tokens_per_step * steps:,}")
    print(f"# memory            about {memory_bytes(recipe) / 2**30:.1f} GiB in training")
    if not options.time:
        print(f"# time              {suggest('show', options.recipe, '--time')} measures it here")
        return
    from aurelius.progress_bar import duration
    from aurelius.training.timing import seconds_per_step

    common.reporter(options).note("timing some steps")
    per_step = seconds_per_step(recipe, options.device)
    print(
        f"# time here         about {duration(per_step * steps)} of training "
        f"({recipe.tokens_per_step / per_step:,.0f} tokens/s, timed just now)"
    )


def _figures(recipe: "Recipe", options: argparse.Namespace) -> dict[str, Any]:
    """Return a recipe and what follows from it, for programs."""
    from aurelius.training.memory import memory_bytes

    figures = {
        "recipe": recipe.model_dump(),
        "parameters": recipe.parameters,
        "tokens_per_step": recipe.tokens_per_step,
        "tokens": recipe.tokens_per_step * recipe.training.steps,
        "memory_bytes": round(memory_bytes(recipe)),
    }
    if options.time:
        from aurelius.training.timing import seconds_per_step

        figures["seconds_per_step"] = seconds_per_step(recipe, options.device)
    return figures


COMMANDS = (
    Command("recipes", "list the recipes", common.add_json_option, _list),
    Command(
        "show",
        "print a recipe in full, with parameters and memory",
        _add_arguments,
        _show,
        "aurelius show nano\naurelius show nano --set training.batch=8 --time",
    ),
)
