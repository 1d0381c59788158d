"""``aurelius recipes`` and ``aurelius show``."""

import argparse

from aurelius.cli import options as common
from aurelius.cli.command import Command


def _list(options: argparse.Namespace) -> None:
    from aurelius.config import shipped
    from aurelius.config.recipe import Recipe

    for name in shipped.NAMES:
        print(f"{name:16}{Recipe.load(name).description}")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="a recipe's name or file, or a run folder")
    common.add_set_option(parser)
    common.add_device_option(parser)


def _show(options: argparse.Namespace) -> None:
    from aurelius.cli.console import duration
    from aurelius.config.recipe import Recipe
    from aurelius.training.timing import memory_bytes, seconds_per_step

    recipe = Recipe.load(options.recipe, common.overrides(options))
    print(recipe.to_toml())
    steps = recipe.training.steps
    per_step = seconds_per_step(recipe, options.device)
    print(f"# parameters        {recipe.parameters:,}")
    print(f"# tokens per step   {recipe.tokens_per_step:,}")
    print(f"# total tokens      {recipe.tokens_per_step * steps:,}")
    print(
        f"# time here         about {duration(per_step * steps)} of training "
        f"({recipe.tokens_per_step / per_step:,.0f} tokens/s, timed just now)"
    )
    print(f"# memory            about {memory_bytes(recipe) / 2**30:.1f} GiB in training")


COMMANDS = (
    Command("recipes", "list the recipes", lambda parser: None, _list),
    Command("show", "print a recipe in full, with parameters, time and memory", _add_arguments, _show),
)
