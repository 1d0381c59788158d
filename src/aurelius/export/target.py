"""Stage 6: one folder for each runtime that loads the model; all are made from the Hugging Face folder."""

from collections.abc import Collection
from importlib import import_module
from pathlib import Path

from aurelius.config.recipe import Recipe
from aurelius.errors import ModelError, RecipeError, TokenizerError
from aurelius.progress import SILENT, Progress

ONNX_FILES = {"fp32": "model", "fp16": "model_fp16", "int8": "model_quantized", "q4": "model_q4"}
GGUF_TYPES = ("F32", "F16", "Q8_0", "Q4_0")
ONNX_DTYPES = {"int8": "q8", "fp32": "fp32", "fp16": "fp16", "q4": "q4"}  # their names in transformers.js


def require_writable(recipe: Recipe, targets: Collection[str]) -> None:
    """Refuse what could not be written in the end, before hours of training.

    Raises:
        ModelError: a type of GGUF that the recipe asks for does not fit the shape.
        TokenizerError: llama.cpp cannot cut as the tokenizer will.
        RecipeError: the packages for a target are not installed.
    """
    for target in targets:
        try:
            import_module(f"aurelius.export.{target}")
        except ModuleNotFoundError as error:
            raise _missing(target, error) from None
    if "gguf" not in targets:
        return
    from aurelius.export import gguf

    for problem in filter(None, (gguf.misfit(recipe.model, kind) for kind in recipe.export.gguf)):
        raise ModelError(problem)
    if recipe.tokenizer.normalizer == "reference" and not recipe.tokenizer.source:
        raise TokenizerError(f"tokenizer.normalizer is reference, {gguf.NO_NORMALIZER}")


def to_onnx(recipe: Recipe, source: Path, out: Path) -> None:
    """Write the Hugging Face folder ``source`` as ONNX files, for transformers.js and ONNX Runtime.

    Raises:
        ModelError, RunError: the folder is damaged.
        RecipeError: the packages for it are not installed.
    """
    require_writable(recipe, ["onnx"])
    from aurelius.export import onnx
    from aurelius.model.hf_folder import Folder

    onnx.write(Folder.read(source), out, tuple(recipe.export.onnx))


def to_gguf(recipe: Recipe, source: Path, out: Path, progress: Progress = SILENT) -> None:
    """Write the Hugging Face folder ``source`` as GGUF files, for llama.cpp.

    Raises:
        ModelError: a type that the recipe asks for does not fit the shape, or the folder is damaged.
        TokenizerError: llama.cpp cannot cut as the tokenizer does.
        RecipeError: the packages for it are not installed.
    """
    require_writable(recipe, ["gguf"])
    from aurelius.export import gguf
    from aurelius.model.hf_folder import Folder

    for problem in gguf.write(Folder.read(source), out, recipe.name, tuple(recipe.export.gguf)):
        progress.note(f"gguf: left out, {problem}")


def _missing(extra: str, error: ModuleNotFoundError) -> RecipeError:
    return RecipeError(f"--to {extra} needs the package {error.name}: pip install 'aurelius-lm[{extra}]'")
