"""Models from elsewhere as runs: a stock Hugging Face Llama, or a llama2.c ``.bin``.

The folder is copied into the run as ``imported/``. The run's recipe says that its tokenizer comes from there
and that training starts from its weights; with zero steps it is the model unchanged. From then on it is a run
like any other.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aurelius.config.recipe import Recipe
from aurelius.config.settings import IMPORTED
from aurelius.errors import ModelError, RecipeError, RunError
from aurelius.files import read_json, write_bytes
from aurelius.importing import llama2c
from aurelius.inference.sampling import sampling_of
from aurelius.model.hf_folder import INDEX, WEIGHTS, LlamaFolder, weight_files
from aurelius.pipeline import run as pipeline
from aurelius.progress import SILENT, Progress
from aurelius.run_paths import RECIPE
from aurelius.tokenizer.load import special_tokens_of

REQUIRED = ("config.json", WEIGHTS, "tokenizer.json")
OPTIONAL = ("generation_config.json", "tokenizer_config.json")


def import_model(
    source: Path,
    out: Path | None = None,
    tokenizer: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Turn a model into a run, with the stages up to training done; return the run folder.

    Args:
        source: a Hugging Face folder, or a llama2.c checkpoint (``.bin``).
        out: the run folder; ``runs/NAME`` by default.
        tokenizer: llama2.c's ``tokenizer.bin``, for a checkpoint; by default the one in the same folder.
        overrides: values of the run's recipe by dotted key, such as ``corpus.source``.
        progress: reports the stages.

    Raises:
        ModelError: the source is not such a model; see `LlamaFolder.read`.
        TokenizerError: its tokenizer is unusable, or has another size.
        RecipeError: ``overrides`` ask for another shape.
        RunError: the run folder is not empty, or a file is missing.
    """
    if not source.exists():
        raise ModelError(f"{source} does not exist; pass a Hugging Face folder or a llama2.c .bin")
    if (source / RECIPE).is_file():
        raise ModelError(f"{source} is a run already; its model is {source / 'export' / 'huggingface'}")
    if tokenizer and source.is_dir():
        raise ModelError(f"{tokenizer} is not needed: {source} has its own tokenizer")
    stem = source.resolve().stem if source.is_file() else source.resolve().name
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or IMPORTED
    run = out or Path("runs") / name
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise RunError(f"{run} is not empty; import into a new folder with --out")
    inside, existed = run / IMPORTED, run.exists()
    try:
        folder = _copied(source, tokenizer, inside)
        if (size := folder.tokenizer.get_vocab_size()) != folder.vocab_size:
            raise ModelError(
                f"{source}: the tokenizer has {size} tokens, the model {folder.vocab_size}; resize the "
                f"model's embedding first (resize_token_embeddings({size}))"
            )
        special_tokens_of(folder.config, folder.tokenizer, str(source))
        recipe = _recipe(name, folder).with_(**(overrides or {}))
        if (recipe.model, recipe.tokenizer.vocab_size) != (folder.shape, folder.vocab_size):
            raise RecipeError(f"{source} keeps its shape; do not set model.* or tokenizer.vocab_size")
        write_bytes(run / RECIPE, recipe.to_toml().encode())
        return pipeline.run(run, until="training", progress=progress).folder
    except BaseException:  # leave nothing, so that the same command can be run again
        for path in run.iterdir() if run.is_dir() else ():
            path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
        if not existed:
            shutil.rmtree(run, ignore_errors=True)
        raise


def _copied(source: Path, tokenizer: Path | None, inside: Path) -> LlamaFolder:
    """Copy a Hugging Face folder's files, or write a checkpoint as such a folder; return what was read."""
    if source.is_file():
        llama2c.convert(source, tokenizer or source.with_name("tokenizer.bin"), inside)
        return LlamaFolder.read(inside)
    if missing := [file for file in REQUIRED if not (source / file).is_file() and file != WEIGHTS]:
        raise ModelError(f"{source} lacks {', '.join(missing)}")
    folder = LlamaFolder.read(source)
    inside.mkdir(parents=True)
    shards = [path.name for path in weight_files(source / WEIGHTS)]
    for file in (*REQUIRED, *OPTIONAL, INDEX, *shards):
        if (source / file).is_file():
            shutil.copyfile(source / file, inside / file)
    return folder


def _recipe(name: str, folder: LlamaFolder) -> Recipe:
    table: dict[str, Any] = {
        "name": name,
        "description": "imported",
        "tokenizer": {"vocab_size": folder.vocab_size, "source": IMPORTED},
        "model": folder.shape.model_dump(),
        "training": {"steps": 0, "batch": 4, "start": IMPORTED},
    }
    generation = folder.path / "generation_config.json"
    settings = read_json(generation) if generation.is_file() else {}
    if isinstance(settings, dict):
        table["generation"] = sampling_of(settings, str(generation)).model_dump()
    return Recipe.of(table, str(folder.path))
