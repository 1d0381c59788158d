"""Checkpoints: ``step-000500/{model,optimizer}.safetensors`` and ``state.json``, whole or absent.

A checkpoint is written beside its place, forced to the disk, and renamed; a kill leaves the one before it.
"""

import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from aurelius.config.recipe import Recipe
from aurelius.errors import ModelError, RunError
from aurelius.files import (
    read_json,
    sync,
    write_bytes,
    write_json,
)
from aurelius.files import sha256 as file_sha256
from aurelius.model.llama import Llama

MODEL, OPTIMIZER = "model.safetensors", "optimizer.safetensors"
STATE = {"step", "seconds", "pending_losses", "made_from", "device", "threads", "processes", "pieces"} | {
    "versions",
    "sha256",
}
METADATA = {"format": "pt"}  # what transformers asks a safetensors file to say


def write(
    folder: Path, step: int, model: Llama, optimizer: dict[str, Tensor], state: dict[str, Any], keep: int
) -> Path:
    """Write the checkpoint of ``step`` and remove all but the ``keep`` newest.

    Raises:
        OSError: the disk refuses; earlier checkpoints are untouched.
    """
    path = folder / f"step-{step:06d}"
    temporary = folder / f".{path.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        contents = {MODEL: save(weights(model), METADATA), OPTIMIZER: save(optimizer)}
        for name, content in contents.items():
            write_bytes(temporary / name, content)
        hashes = {name: sha256(content).hexdigest() for name, content in contents.items()}
        write_json(temporary / "state.json", {**state, "sha256": hashes})
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync(folder)
    for old in every(folder)[:-keep]:
        gone = folder / f".{old.name}.tmp"
        os.replace(old, gone)  # at once, so that no half-removed folder looks like a checkpoint
        shutil.rmtree(gone)
    return path


def every(folder: Path) -> list[Path]:
    """Return the checkpoints of a training folder, oldest first."""
    found = {path.name.removeprefix("step-"): path for path in folder.glob("step-*")}
    # Others are the user's: a copy put by, a damaged one renamed.
    return [found[step] for step in sorted(filter(str.isdecimal, found), key=int)]


def sweep(folder: Path) -> None:
    """Remove what a killed `write` left."""
    for left in folder.glob(".step-*.tmp"):
        shutil.rmtree(left)


def latest(folder: Path) -> Path:
    """Return the newest checkpoint of a training folder.

    Raises:
        ModelError: there is none.
    """
    found = every(folder)
    if not found:
        raise ModelError(f"{folder} holds no checkpoint yet; train first: aurelius train RUN")
    return found[-1]


def weights(model: Llama) -> dict[str, Tensor]:
    """Return the model's weights by their published names, on the CPU."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def put_aside(folder: Path, step: int) -> None:
    """Rename the checkpoints after ``step``, which were found damaged, out of the way of new ones."""
    for path in every(folder):
        if int(path.name.removeprefix("step-")) > step:
            shutil.rmtree(path.with_suffix(".damaged"), ignore_errors=True)
            os.replace(path, path.with_suffix(".damaged"))


def read(path: Path, state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the weights and the optimizer's tensors of a checkpoint, and hold them against its ``state``.

    Raises:
        ModelError: a file of it is missing or damaged.
    """
    for name in (MODEL, OPTIMIZER):
        if (path / name).is_file() and file_sha256(path / name) != state["sha256"].get(name):
            raise ModelError(f"{path / name} is damaged: its content is not what was written")
    return read_tensors(path / MODEL), read_tensors(path / OPTIMIZER)


def read_state(path: Path) -> dict[str, Any]:
    """Return the ``state.json`` of a checkpoint.

    Raises:
        ModelError: it is missing or damaged.
    """
    try:
        state = read_json(path / "state.json")
    except RunError as error:
        raise ModelError(str(error)) from None
    if not isinstance(state, dict) or not set(state) >= STATE:
        raise ModelError(f"{path / 'state.json'} is damaged: it lacks what training goes on with")
    return state


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        ModelError: it is missing or damaged.
    """
    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None


def load_model(recipe: Recipe, path: Path, device: torch.device | None = None) -> Llama:
    """Return the model of a checkpoint.

    Raises:
        ModelError: the weights are missing, damaged or of another shape.
    """
    model = Llama(recipe.model, recipe.tokenizer.vocab_size)
    try:
        model.load_state_dict(read_tensors(path / MODEL))
    except RuntimeError as error:
        raise ModelError(f"{path} does not fit the recipe: {error}") from None
    return model.to(device or torch.device("cpu")).eval()
