"""transformers.js, as in browsers, run by Node.js."""

from collections.abc import Iterator
from pathlib import Path

from aurelius.export.onnx import JAVASCRIPT_DTYPES, kind_of
from aurelius.parity import node
from aurelius.parity.runtime import Runtime, finished_files
from aurelius.run_paths import RunPaths
from aurelius.special_tokens import SPECIAL_TOKENS

PACKAGE = "@huggingface/transformers"
SCRIPT = Path(__file__).with_suffix(".mjs")


def find(run: Path) -> Iterator[Runtime | str]:
    """Yield the runtime with each of a run's ONNX files, or why it is skipped."""
    files = [(kind, path) for path in finished_files(run, "onnx") if (kind := kind_of(path.name))]
    if not files:
        yield "transformers.js: no ONNX files; aurelius export RUN --to onnx writes them"
    elif missing := node.missing(PACKAGE):
        yield f"transformers.js: not installed ({missing})"
    else:
        for kind, path in files:
            options = {
                "model": str(RunPaths(run).export("onnx").absolute()),
                "dtype": JAVASCRIPT_DTYPES[kind],
            }
            yield Runtime(
                "transformers.js",
                "onnx",
                kind,
                path,
                lambda task, options=options: node.answer(PACKAGE, SCRIPT, options, task),
                known_difference=_has_special_token,
            )


def _has_special_token(text: str) -> bool:
    return any(token in text for token in SPECIAL_TOKENS)  # which it always parses
