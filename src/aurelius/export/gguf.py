"""GGUF files, for llama.cpp and what is built on it."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from aurelius.config.recipe import Recipe
from aurelius.config.settings import ModelSettings
from aurelius.errors import ModelError, TokenizerError
from aurelius.export.render import render
from aurelius.export.target import Target, Tolerance
from aurelius.progress import Progress

TYPES = ("F32", "F16", "Q8_0", "Q4_0")
BLOCK = 32  # weights of a row that share a scale in Q8_0 and Q4_0
NO_NORMALIZER = (
    "which puts spaces before newlines; llama.cpp has no normalizer: train with tokenizer.normalizer=portable"
)


def write(recipe: Recipe, source: Path, out: Path, progress: Progress) -> None:
    """Write the Hugging Face folder ``source`` as GGUF files, in all types that fit its shape.

    Raises:
        ModelError: a type that the recipe asks for does not fit the shape, or the folder is damaged.
        TokenizerError: llama.cpp cannot split text as the tokenizer does.
    """
    from aurelius.export import gguf_file
    from aurelius.model.hf_folder import LlamaFolder

    for problem in gguf_file.write(LlamaFolder.read(source), out, recipe.name, tuple(recipe.export.gguf)):
        progress.note(f"gguf: left out, {problem}")


def misfit(shape: ModelSettings, kind: str) -> str:
    """Say why a type does not fit the shape; "" if it does."""
    if kind in ("F32", "F16"):
        return ""
    for key, width in {"model.d_model": shape.d_model, "model.d_mlp": shape.d_mlp}.items():
        if width % BLOCK:
            advice = "the recipe large-portable has 992" if width == 1008 else f"use {width // BLOCK * BLOCK}"
            return f"{kind} stores {BLOCK} weights together and {key} is {width}, not a multiple; {advice}"
    return ""


def preflight(recipe: Recipe) -> None:
    """Refuse a recipe whose model could not be written.

    Raises:
        ModelError: a type that the recipe asks for does not fit the shape.
        TokenizerError: llama.cpp cannot split text as the tokenizer will.
    """
    for problem in filter(None, (misfit(recipe.model, kind) for kind in recipe.export.gguf)):
        raise ModelError(problem)
    if recipe.tokenizer.normalizer == "reference" and not recipe.tokenizer.source:
        raise TokenizerError(f"tokenizer.normalizer is reference, {NO_NORMALIZER}")
    if recipe.tokenizer.prefix != "sink":
        raise TokenizerError(
            f"tokenizer.prefix is {recipe.tokenizer.prefix}, and a GGUF file begins texts with <sink> <s>; "
            "leave GGUF out, or train with tokenizer.prefix=sink"
        )


def kind_of(name: str) -> str | None:
    """Return the type of a file by its name, such as ``Q8_0``."""
    path = PurePosixPath(name)
    return path.stem.rsplit("-", 1)[-1] if path.suffix == ".gguf" else None


def _card_section(values: Mapping[str, Any], files: Sequence[str]) -> str:
    small = next((name for name in files if kind_of(name) == "Q8_0"), files[0])
    return render("card-gguf.md.jinja", {**values, "gguf_file": small})


TARGET = Target(
    name="gguf",
    recipe_parts=("name", "export.gguf"),
    write=write,
    kind_of=kind_of,
    tolerances={
        "F32": Tolerance(logits=1e-3),
        "F16": Tolerance(bits_per_byte=1e-3),
        "Q8_0": Tolerance(bits_per_byte=1e-2),
        "Q4_0": Tolerance(),  # reported, not judged
    },
    packages=("gguf",),
    preflight=preflight,
    published_as=lambda name: name if kind_of(name) else None,
    possible_files=lambda recipe: [f"{recipe.name}-{kind}.gguf" for kind in TYPES],
    card_section=_card_section,
)
