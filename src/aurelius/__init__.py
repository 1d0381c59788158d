"""Aurelius: from a corpus of short stories to a published language model of at most ten million parameters.

One call does everything: ``aurelius.run("nano")``. Each stage is also one function: `corpus.build`,
`tokenizer.build`, `tokens.build`, `training.train`, `evaluation.build`, `export.huggingface.write`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aurelius.config.recipe import Recipe
    from aurelius.errors import AureliusError
    from aurelius.evaluation.likelihood import measure
    from aurelius.inference.generate import generate
    from aurelius.inference.models import open_model
    from aurelius.inference.sampling import Sampling
    from aurelius.pipeline.run import run

__version__ = "0.1.0"
__all__ = ["AureliusError", "Recipe", "Sampling", "generate", "measure", "open_model", "run"]

_HOMES = {
    "AureliusError": "errors",
    "Recipe": "config.recipe",
    "Sampling": "inference.sampling",
    "generate": "inference.generate",
    "measure": "evaluation.likelihood",
    "open_model": "inference.models",
    "run": "pipeline.run",
}


def __getattr__(name: str) -> Any:
    # PyTorch and its kin take seconds to import; they come when something that needs them is named.
    if name not in _HOMES:
        raise AttributeError(f"module 'aurelius' has no attribute '{name}'")
    return getattr(import_module(f"aurelius.{_HOMES[name]}"), name)
