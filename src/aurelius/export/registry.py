"""The targets of export, in the order they are written; to add one, write its module and add a line here."""

from collections.abc import Collection
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from aurelius.config.recipe import Recipe
from aurelius.errors import RecipeError
from aurelius.export.target import Target

MODULES = {
    "onnx": "aurelius.export.onnx",
    "gguf": "aurelius.export.gguf",
    "page": "aurelius.export.page",
}
BASE = "huggingface"  # which every export writes, and from which the targets are made
NAMES = (BASE, *MODULES)


@cache
def targets() -> tuple[Target, ...]:
    """Return all targets except the Hugging Face folder itself."""
    return tuple(import_module(module).TARGET for module in MODULES.values())


def preflight(recipe: Recipe, names: Collection[str]) -> None:
    """Refuse targets that could not be written in the end, before hours of training.

    Raises:
        RecipeError: a package for a target is not installed.
        ModelError, TokenizerError: the recipe's model does not fit a target.
    """
    for target in targets():
        if target.name not in names:
            continue
        for package in target.packages:
            if not _is_installed(package):
                raise RecipeError(
                    f"--to {target.name} needs the package {package}: "
                    f"pip install 'aurelius-lm[{target.name}]'"
                )
        target.preflight(recipe)


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # imported, but without a specification
        return False
