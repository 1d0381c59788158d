"""The runtimes that are checked, in the order they are reported; to add one, add its module here."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from aurelius.parity.runtime import Runtime

MODULES = (
    "aurelius.parity.runtimes.numpy_reference",
    "aurelius.parity.runtimes.stock_transformers",
    "aurelius.parity.runtimes.onnxruntime",
    "aurelius.parity.runtimes.transformers_js",
    "aurelius.parity.runtimes.llama_cpp",
)


def find_runtimes(run: Path) -> Iterator[Runtime | str]:
    """Yield the installed runtimes with each file of a run's exports, and why others are skipped."""
    for module in MODULES:
        yield from import_module(module).find(run)
