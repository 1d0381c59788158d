"""Devices: choosing one, its memory errors, and its precision."""

import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from aurelius.errors import MemoryExhausted, RecipeError, first_line


def pick(name: str = "auto") -> torch.device:
    """Return the device called ``name``; ``auto`` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        RecipeError: this machine, or this build of PyTorch, does not have it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name.split(":")[0] not in ("cpu", "cuda", "mps"):
        raise RecipeError(
            f"device '{name}' is unknown; use auto, cpu, cuda (or cuda:1 for the second), or mps"
        )
    if name == "cuda":  # torchrun numbers the processes of a machine
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        if device.type == "cuda":  # streams and CUDA graphs belong to the current device
            torch.cuda.set_device(device)
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(
            f"device '{name}' cannot be used here ({first_line(error)}); use auto, cpu, cuda or mps"
        ) from None
    return device


def name_of(device: torch.device) -> str:
    """Return the name of a device for people: NVIDIA H200, Apple GPU, CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "Apple GPU" if device.type == "mps" else platform.processor() or "CPU"


@contextmanager
def memory_errors(advice: str) -> Iterator[None]:
    """Turn running out of memory into a `MemoryExhausted` that ends with ``advice``."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # the CPU's allocator raises a bare RuntimeError
        known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not known and not any(sign in str(error) for sign in ("allocate", "out of memory")):
            raise
        raise MemoryExhausted(f"out of memory: {first_line(error)} {advice}") from error


def precision(device: torch.device, bf16: bool) -> AbstractContextManager:
    """Return the context of training's forward pass: matrix products in bf16, or all of it in float32."""
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()
