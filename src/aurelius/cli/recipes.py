"""``aurelius recipes`` and ``aurelius show``."""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aurelius.cli import options as common
from aurelius.cli.command import Command
from aurelius.errors import RecipeError, suggest
from aurelius.run_paths import AUTO

if TYPE_CHECKING:
    from aurelius.config.recipe import Recipe


CPU = ("auto", "cpu")  # without PyTorch, which takes seconds to import, nobody knows what auto would be


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
    parser.add_argument("recipe", metavar="RUN_OR_RECIPE", help=f"{common.RUN_OR_RECIPE}, or {AUTO}")
    common.add_set_option(parser)
    common.add_corpus_options(parser)
    parser.add_argument("--minutes", type=float, help=f"the budget that {AUTO} sizes a recipe for")
    parser.add_argument("--time", action="store_true", help="time some steps here, for some seconds")
    common.add_json_option(parser)
    common.add_device_option(parser)


def _show(options: argparse.Namespace) -> None:
    from aurelius.config.recipe import Recipe
    from aurelius.pipeline.needs import needs

    if options.recipe == AUTO:
        _show_auto(options)
        return
    if options.minutes is not None:
        raise RecipeError(f"--minutes has no effect on {options.recipe}; it sizes the recipe '{AUTO}'")
    recipe = Recipe.load(options.recipe, common.overrides(options))
    steps = recipe.training.steps
    if options.json:
        common.print_json(_figures(recipe, options))
        return
    print(recipe.to_toml())
    print(f"# parameters        {recipe.parameters:,}")
    print(f"# tokens per step   {recipe.tokens_per_step:,}")
    print(f"# total tokens      {recipe.tokens_per_step * steps:,}")
    print(f"# needs             {needs(recipe, options.device in CPU, reachable=False).in_words}")
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


def _show_auto(options: argparse.Namespace) -> None:
    """Print what `auto` would choose, why, and what else it compared."""
    from aurelius.pipeline.auto import size
    from aurelius.progress_bar import duration

    sized = size(common.overrides(options), options.minutes, options.device, common.reporter(options))
    recipe, best = sized.recipe, sized.choices[0]
    if options.json:
        choices = [
            {
                "model": c.model.model_dump(),
                "vocab_size": c.vocab_size,
                "parameters": c.parameters,
                "tokens_per_second": round(c.tokens_per_second),
                "tokens": round(c.tokens),
                "epochs": round(c.epochs, 2),
                "bits_per_byte": round(c.bits_per_byte, 4) if sized.expected else None,
            }
            for c in sized.choices
        ]
        common.print_json({"recipe": recipe.model_dump(), "expected": sized.expected, "choices": choices})
        return
    print("\n".join(f"# {line}" for line in sized.reasons))
    print(f"\n{recipe.to_toml()}")
    rest = 60 * recipe.training.minutes - sized.seconds
    expected = f"{sized.expected:.3f} (text alone)" if sized.expected else "unknown for these stories"
    print(f"# parameters        {recipe.parameters:,}")
    print(f"# training          {duration(sized.seconds)}, {best.tokens / 1e6:,.1f} million tokens")
    print(f"# all other stages  {duration(rest)}")
    print(f"# bits per byte     {expected}")


def _figures(recipe: "Recipe", options: argparse.Namespace) -> dict[str, Any]:
    """Return a recipe and what follows from it, for programs."""
    from aurelius.pipeline.needs import needs

    figures = {
        "recipe": recipe.model_dump(),
        "parameters": recipe.parameters,
        "tokens_per_step": recipe.tokens_per_step,
        "tokens": recipe.tokens_per_step * recipe.training.steps,
        "needs_bytes": asdict(needs(recipe, options.device in CPU, reachable=False)),
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
        "aurelius show nano\naurelius show nano --set training.batch=8 --time\n"
        "aurelius show auto --minutes 60 --corpus stories.txt",
    ),
)
