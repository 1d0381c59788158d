"""ONNX files, for transformers.js in browsers and for ONNX Runtime."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from aurelius.config.recipe import Recipe
from aurelius.export.render import render
from aurelius.export.target import Target, Tolerance
from aurelius.progress import Progress

FILES = {"fp32": "model", "fp16": "model_fp16", "int8": "model_quantized", "q4": "model_q4"}
JAVASCRIPT_DTYPES = {"int8": "q8", "fp32": "fp32", "fp16": "fp16", "q4": "q4"}  # the preferred one first


def write(recipe: Recipe, source: Path, out: Path, progress: Progress) -> None:
    """Write the Hugging Face folder ``source`` as ONNX files.

    Raises:
        ModelError, RunError: the folder is damaged.
    """
    from aurelius.export import onnx_graph
    from aurelius.model.hf_folder import LlamaFolder

    onnx_graph.write(LlamaFolder.read(source), out, {kind: FILES[kind] for kind in recipe.export.onnx})


def kind_of(name: str) -> str | None:
    """Return how a file stores its matrices: fp32, fp16, int8 or q4."""
    path = PurePosixPath(name)
    kinds = {stem: kind for kind, stem in FILES.items()}
    return kinds.get(path.stem) if path.suffix == ".onnx" else None


def _card_section(values: Mapping[str, Any], files: Sequence[str]) -> str:
    kinds = {kind_of(name): PurePosixPath(name).name for name in files}
    kind = next(kind for kind in JAVASCRIPT_DTYPES if kind in kinds)
    return render(
        "card-onnx.md.jinja",
        {**values, "onnx_file": kinds[kind], "dtype": JAVASCRIPT_DTYPES[kind]},
    )


TARGET = Target(
    name="onnx",
    recipe_parts=("export.onnx",),
    write=write,
    kind_of=kind_of,
    tolerances={
        "fp32": Tolerance(logits=1e-3),
        "fp16": Tolerance(bits_per_byte=1e-3),
        "int8": Tolerance(bits_per_byte=1e-2),
        "q4": Tolerance(),  # reported, not judged
    },
    packages=("onnx",),
    published_as=lambda name: f"onnx/{PurePosixPath(name).name}" if kind_of(name) else None,
    possible_files=lambda recipe: [f"onnx/{stem}.onnx" for stem in FILES.values()],
    card_section=_card_section,
)
