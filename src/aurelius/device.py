"""Where the arithmetic happens."""

from contextlib import AbstractContextManager, nullcontext

import torch

from aurelius.errors import RecipeError


def pick(name: str = "auto") -> torch.device:
    """Return the device called ``name``; ``auto`` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        RecipeError: this machine, or this build of PyTorch, does not have it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(
            f"device '{name}' cannot be used here ({str(error).splitlines()[0]}); use auto, cpu, cuda or mps"
        ) from None
    return device


def precision(device: torch.device) -> AbstractContextManager:
    """Return the context of a forward pass: bf16 products on CUDA, float32 elsewhere."""
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()
