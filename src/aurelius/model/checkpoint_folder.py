"""Reading checkpoints: where they are in a training folder, their state, and the model in one.

A checkpoint is ``step-000500/{model,optimizer}.safetensors`` and ``state.json``; `training.checkpoint` writes
it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from aurelius.config.recipe import Recipe
from aurelius.errors import ModelError, RunError
from aurelius.files import read_json

if TYPE_CHECKING:  # what only looks for a checkpoint does without PyTorch, which takes seconds to import
    import torch

    from aurelius.model.llama import Llama

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
STATE_KEYS = {
    "step",
    "seconds",
    "pending_losses",
    "made_from",
    "device",
    "threads",
    "processes",
    "pieces",
} | {
    "versions",
    "sha256",
}


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a training folder, oldest first."""
    found = {path.name.removeprefix("step-"): path for path in folder.glob("step-*")}
    # Other names are the user's: a copy set aside, a damaged one renamed.
    return [found[step] for step in sorted(filter(str.isdecimal, found), key=int)]


def newest_checkpoint(folder: Path) -> Path:
    """Return the newest checkpoint of a training folder.

    Raises:
        ModelError: there is none.
    """
    checkpoints = list_checkpoints(folder)
    if not checkpoints:
        raise ModelError(f"{folder} has no checkpoint yet; train first: aurelius train RUN")
    return checkpoints[-1]


def read_state(path: Path) -> dict[str, Any]:
    """Return the ``state.json`` of a checkpoint.

    Raises:
        ModelError: it is missing or damaged.
    """
    try:
        state = read_json(path / STATE)
    except RunError as error:
        raise ModelError(str(error)) from None
    if not isinstance(state, dict) or not set(state) >= STATE_KEYS:
        raise ModelError(f"{path / STATE} is damaged: it lacks values that training needs to resume")
    return state


def read_tensors(path: Path) -> "dict[str, torch.Tensor]":
    """Read a safetensors file.

    Raises:
        ModelError: it is missing or damaged.
    """
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None


def load_model(recipe: Recipe, path: Path, device: "torch.device | None" = None) -> "Llama":
    """Return the model of a checkpoint, for inference.

    Raises:
        ModelError: the weights are missing, damaged or of another shape.
    """
    import torch

    from aurelius.model.llama import Llama

    model = Llama(recipe.model, recipe.tokenizer.vocab_size)
    try:
        model.load_state_dict(read_tensors(path / MODEL))
    except RuntimeError as error:
        raise ModelError(f"{path} does not fit the recipe: {error}") from None
    return model.to(device or torch.device("cpu")).eval()
