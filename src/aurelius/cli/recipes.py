"""``aurelius recipes`` and ``aurelius show``."""

import argparse

from aurelius.cli import options as common
from aurelius.cli.command import Command
from aurelius.errors import suggest


def _list(options: argparse.Namespace) -> None:
    from aurelius.config import shipped
    from aurelius.config.recipe import Recipe

    for name in shipped.NAMES:
        print(f"{name:16}{Recipe.load(name).description}")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RUN_OR_RECIPE", help=common.RUN_OR_RECIPE)
    common.add_set_option(parser)
    parser.add_argument("--time", action="store_true", help="time some steps here, for some seconds")
    common.add_device_option(parser)


def _show(options: argparse.Namespace) -> None:
    from aurelius.config.recipe import Recipe
    from aurelius.training.memory import memory_bytes

    recipe = Recipe.load(options.recipe, common.overrides(options))
    print(recipe.to_toml())
    steps = recipe.training.steps
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


COMMANDS = (
    Command("recipes", "list the recipes", lambda parser: None, _list),
    Command(
        "show",
        "print a recipe in full, with parameters and memory",
        _add_arguments,
        _show,
        "aurelius show nano\naurelius show nano --set training.batch=8 --time",
    ),
)
