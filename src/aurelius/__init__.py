"""Aurelius: from a corpus of short stories to a published language model of at most ten million parameters.

One call does everything::

    run = aurelius.run("nano")
    print(run.story("Once upon a time"))

`open_run` opens a finished run again, `open_model` any model that can be generated from or measured. Each
stage is also a function of its own: `aurelius.corpus.build`, `aurelius.tokenizer.build`,
`aurelius.training.loop` and so on; see the guide.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aurelius.config.recipe import Recipe
    from aurelius.errors import AureliusError
    from aurelius.evaluation.likelihood import measure
    from aurelius.inference.generate import generate
    from aurelius.inference.open_model import open_model
    from aurelius.inference.sampling import Sampling
    from aurelius.inference.stories import stories
    from aurelius.pipeline.run import run
    from aurelius.pipeline.run_folder import RunFolder, open_run
    from aurelius.progress import SILENT
    from aurelius.reporting.report import report

__version__ = "0.1.0"
__all__ = [
    "SILENT",
    "AureliusError",
    "Recipe",
    "RunFolder",
    "Sampling",
    "generate",
    "measure",
    "open_model",
    "open_run",
    "report",
    "run",
    "stories",
]

_HOMES = {
    "SILENT": "progress",
    "AureliusError": "errors",
    "Recipe": "config.recipe",
    "RunFolder": "pipeline.run_folder",
    "Sampling": "inference.sampling",
    "generate": "inference.generate",
    "measure": "evaluation.likelihood",
    "open_model": "inference.open_model",
    "open_run": "pipeline.run_folder",
    "report": "reporting.report",
    "run": "pipeline.run",
    "stories": "inference.stories",
}
_SUBMODULES = (
    "config",
    "corpus",
    "data",
    "datatrove",
    "errors",
    "evaluation",
    "export",
    "importing",
    "inference",
    "model",
    "parity",
    "pipeline",
    "progress",
    "publishing",
    "reporting",
    "studies",
    "tokenizer",
    "training",
)


def __getattr__(name: str) -> Any:
    # PyTorch and the like take seconds to import, so nothing is imported before it is used.
    if name in _HOMES:
        return getattr(import_module(f"aurelius.{_HOMES[name]}"), name)
    if name in _SUBMODULES:
        return import_module(f"aurelius.{name}")
    raise AttributeError(f"module 'aurelius' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*__all__, *_SUBMODULES, "__version__"})
