"""Writing checkpoints, whole or not at all, and reading them back to resume.

A checkpoint is written under a temporary name, forced to disk, and renamed; a kill leaves the one before it.
"""

import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from aurelius.errors import ModelError
from aurelius.files import sha256 as file_sha256
from aurelius.files import sync, write_bytes, write_json
from aurelius.model.checkpoint_folder import MODEL, OPTIMIZER, STATE, list_checkpoints, read_tensors
from aurelius.model.llama import Llama

METADATA = {"format": "pt"}  # which transformers requires of a safetensors file


def write(
    folder: Path,
    step: int,
    model: Llama,
    optimizer: dict[str, Tensor],
    state: dict[str, Any],
    keep: int,
    always: int | None = None,
) -> Path:
    """Write the checkpoint of ``step`` and remove all but the ``keep`` newest, and that of ``always``.

    Raises:
        OSError: the disk refuses; earlier checkpoints are untouched.
    """
    path = folder / name_of(step)
    temporary = folder / f".{path.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        contents = {MODEL: save(weights(model), METADATA), OPTIMIZER: save(optimizer)}
        for name, content in contents.items():
            write_bytes(temporary / name, content)
        hashes = {name: sha256(content).hexdigest() for name, content in contents.items()}
        write_json(temporary / STATE, {**state, "sha256": hashes})
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync(folder)
    for old in list_checkpoints(folder)[:-keep]:
        if old.name == name_of(always):
            continue
        removed = folder / f".{old.name}.tmp"
        os.replace(old, removed)  # at once, so that no half-removed folder looks like a checkpoint
        shutil.rmtree(removed)
    return path


def name_of(step: int | None) -> str:
    """Return the name of the folder of a step's checkpoint."""
    return "" if step is None else f"step-{step:06d}"


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed `write` left."""
    for unfinished in folder.glob(".step-*.tmp"):
        shutil.rmtree(unfinished)


def weights(model: Llama) -> dict[str, Tensor]:
    """Return the model's weights by their published names, on the CPU."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def rename_damaged(folder: Path, step: int) -> None:
    """Rename the checkpoints after ``step``, which were found damaged, to make room for new ones."""
    for path in list_checkpoints(folder):
        if int(path.name.removeprefix("step-")) > step:
            shutil.rmtree(path.with_suffix(".damaged"), ignore_errors=True)
            os.replace(path, path.with_suffix(".damaged"))


def read(path: Path, state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the weights and the optimizer's tensors of a checkpoint, verified against its ``state``.

    Raises:
        ModelError: one of its files is missing or damaged.
    """
    for name in (MODEL, OPTIMIZER):
        if (path / name).is_file() and file_sha256(path / name) != state["sha256"].get(name):
            raise ModelError(f"{path / name} is damaged: its content is not what was written")
    return read_tensors(path / MODEL), read_tensors(path / OPTIMIZER)
