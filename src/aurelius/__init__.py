"""Aurelius: from a corpus of short stories to a published language model of at most ten million parameters.

One call does everything: ``aurelius.run("nano")``. Each stage is also one function: `corpus.build`,
`tokenizer.build`, `tokens.build`, `training.train`, `evaluation.build`, `export.huggingface.write`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aurelius.errors import AureliusError
    from aurelius.evaluation import measure
    from aurelius.generation import Sampling, generate
    from aurelius.lm import open_model
    from aurelius.pipeline import run
    from aurelius.recipe import Recipe

__version__ = "0.1.0"
__all__ = ["AureliusError", "Recipe", "Sampling", "generate", "measure", "open_model", "run"]

_HOMES = {
    "AureliusError": "errors",
    "Recipe": "recipe",
    "Sampling": "generation",
    "generate": "generation",
    "measure": "evaluation",
    "open_model": "lm",
    "run": "pipeline",
}


def __getattr__(name: str) -> Any:
    # PyTorch and its kin take seconds to import; they come when something that needs them is named.
    if name not in _HOMES:
        raise AttributeError(f"module 'aurelius' has no attribute '{name}'")
    return getattr(import_module(f"aurelius.{_HOMES[name]}"), name)
