"""What computes a step's gradients: compiled code on a CPU, else PyTorch's autograd, which is the reference.

The compiled code knows one architecture. Before it is used it is compared with autograd, so that a changed
`model.llama`, or a processor it does not get along with, cannot train something else in silence.
"""

from typing import TYPE_CHECKING

import torch

from aurelius.errors import first_line
from aurelius.model.llama import Llama
from aurelius.training.cpu_threads import ThreadTeam

if TYPE_CHECKING:
    from aurelius.training.cpu_step.engine import CpuStep

COMPILED, AUTOGRAD = "numba", "autograd"  # as recorded in checkpoints
MAX_POSITIONS = 1024  # attention keeps T² probabilities; beyond this, they take too much memory
CHECKED_TOKENS = 24
TOLERANCE = 1e-3  # relative; rounding makes about 1e-6


def compiled_step(model: Llama, threads: int) -> "CpuStep | str":
    """Return the compiled step of a model on a CPU, or in words why there is none."""
    if model.shape.context > MAX_POSITIONS:
        return f"a context of {model.shape.context} is above its {MAX_POSITIONS}"
    try:
        from aurelius.training.cpu_step.engine import CpuStep

        step = CpuStep(model, ThreadTeam(threads))
        return _difference(step, model) or step
    except MemoryError:
        raise
    except Exception as error:  # whatever a missing or unsuitable compiler raises
        return f"{type(error).__name__}: {first_line(error)}"


def _difference(step: "CpuStep", model: Llama) -> str:
    """Say how the compiled step differs from autograd on a few tokens; empty if it does not."""
    count = min(CHECKED_TOKENS, model.shape.context)
    ids = torch.randint(model.vocab_size, (1, count), generator=torch.Generator().manual_seed(0))
    expected = model.loss(ids, ids)
    gradients = torch.autograd.grad(expected, list(model.parameters()))
    loss = step.gradients(ids, ids, None, 1.0)
    size = float(step.gradient.norm())
    distance = float((step.gradient - torch.cat([g.flatten() for g in gradients])).norm())
    model.zero_grad()
    if abs(loss - expected.item()) <= TOLERANCE * expected.item() and distance <= TOLERANCE * size:
        return ""
    return (
        f"on {count} tokens its loss is {loss:.6g} and autograd's {expected.item():.6g}; their gradients are "
        f"{distance:.3g} apart, of {size:.3g}"
    )
