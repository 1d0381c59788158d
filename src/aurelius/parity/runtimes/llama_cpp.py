"""llama.cpp, through node-llama-cpp."""

from collections.abc import Iterator
from pathlib import Path

from aurelius.export.gguf import kind_of
from aurelius.parity import node
from aurelius.parity.runtime import Runtime, finished_files

PACKAGE = "node-llama-cpp"
SCRIPT = Path(__file__).with_suffix(".mjs")


def find(run: Path) -> Iterator[Runtime | str]:
    """Yield the runtime with each of a run's GGUF files, or why it is skipped."""
    files = [(kind, path) for path in finished_files(run, "gguf") if (kind := kind_of(path.name))]
    if not files:
        yield "llama.cpp: no GGUF files; aurelius export RUN --to gguf writes them"
    elif missing := node.missing(PACKAGE):
        yield f"llama.cpp: not installed ({missing})"
    else:
        for kind, path in files:
            options = {"model": str(path.absolute())}
            yield Runtime(
                "llama.cpp",
                "gguf",
                kind,
                path,
                lambda task, options=options: node.answer(PACKAGE, SCRIPT, options, task),
                adds_prefix=False,
                known_difference=lambda text: "▁" in text,  # which is how it writes a space
            )
