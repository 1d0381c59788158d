"""A step's gradients, and Muon's updates, on the cores of a CPU.

The unit of work is a story (with attention over whole blocks: a block). Each thread takes its stories through
all layers, forward and backward, in compiled code that does not hold Python's lock, and adds to gradients of
its own; these are added up in the order of the threads, so that every run has the same sums.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

from aurelius.model.llama import Llama
from aurelius.training.cpu_step.balance import shares
from aurelius.training.cpu_step.blas import sgemm_address
from aurelius.training.cpu_step.gradients import Shape, add_gradients, workspace
from aurelius.training.cpu_step.muon import update
from aurelius.training.cpu_threads import ThreadTeam

POSITION_COST, PAIR_COST = 1.0, 0.0006  # of a story's position, and of each pair of its positions


class CpuStep:
    """Gradients of one model and updates of its matrices."""

    def __init__(self, model: Llama, threads: ThreadTeam):
        """Move the parameters of ``model`` into one array; they stay its parameters."""
        shape = model.shape
        parameters = list(model.parameters())
        sizes = [p.numel() for p in parameters]
        # All parameters, and the gradients of each thread; one allocation, for huge pages.
        room = np.zeros((1 + threads.count, sum(sizes)), np.float32)
        self._weights, *self._totals = room
        flat = torch.from_numpy(self._weights)
        torch.cat([p.detach().flatten() for p in parameters], out=flat)
        self.flat = nn.Parameter(flat)  # all parameters, and in ``grad`` the sum of the gradients
        self.flat.grad = self.gradient = torch.from_numpy(self._totals[0])
        self._parameters = parameters
        self._gradients = [
            part.view_as(p) for part, p in zip(self.gradient.split(sizes), parameters, strict=True)
        ]
        for p, part in zip(parameters, flat.split(sizes), strict=True):
            p.data = part.view_as(p)
        self.threads = threads
        self._workspaces = [workspace(shape, model.vocab_size) for _ in range(threads.count)]
        cos, sin = model.get_buffer("rope")[:, :, : shape.head_dim // 2]
        self._rope = cos.contiguous().numpy(), sin.contiguous().numpy()
        self._shape = Shape(
            sgemm_address(), shape.layers, shape.d_model, shape.d_mlp, shape.heads, shape.kv_heads,
            shape.head_dim, model.vocab_size, np.float32(shape.norm_eps),
        )  # fmt: skip
        self._blas = ThreadpoolController().select(user_api="blas")

    def gradients(self, inputs: Tensor, targets: Tensor, begin: int | None, scale: float) -> float:
        """Set the parameters' gradients to ``scale`` times those of the summed loss; return that loss (nats).

        Args:
            inputs: token ids [B, T].
            targets: the ids that follow [B, T].
            begin: the id that begins a story, beyond which attention does not reach; None: whole blocks.
            scale: factor of the gradients.
        """
        ids, wanted = inputs.numpy().ravel(), targets.numpy().ravel()
        bounds = story_bounds(inputs.numpy(), begin)
        stories = list(pairwise(bounds))
        costs = [(b - a) * (POSITION_COST + PAIR_COST * (b - a)) for a, b in stories]

        def work(thread: int, own: Sequence[int]) -> float:
            loss, total = 0.0, self._totals[thread]
            total.fill(0)
            for chunk in chunks([stories[n] for n in own], self._rope[0].shape[0]):
                where = np.concatenate([np.arange(a, b) for a, b in chunk])
                starts = np.cumsum([0, *(b - a for a, b in chunk)])
                loss += add_gradients(
                    self._shape, self._workspaces[thread], self._weights, total, *self._rope, ids[where],
                    wanted[where], starts, np.float32(scale),
                )  # fmt: skip
            return loss

        with self._blas.limit(limits=1):
            split = shares(costs, self.threads.count)
            loss = sum(self.threads.map(work, range(len(split)), split))
            for _ in self.threads.map(self._add_up, range(self.threads.count)):
                pass
        for p, gradient in zip(self._parameters, self._gradients, strict=True):
            p.grad = gradient
        return loss

    def _add_up(self, thread: int) -> None:
        """Add up one part of all threads' gradients, in the order of the threads."""
        size = -(-self._weights.size // self.threads.count)
        part = slice(thread * size, (thread + 1) * size)
        for total in self._totals[1:]:
            self._totals[0][part] += total[part]

    def update_matrices(self, matrices: Sequence[tuple[Tensor, Tensor, dict[str, Any]]]) -> None:
        """Let Muon update each parameter, given its running average of gradients and its group's settings."""

        def work(own: Iterable[int]) -> None:
            for n in own:
                p, average, group = matrices[n]
                assert p.grad is not None
                down, across = group["heads"]
                update(
                    self._shape.sgemm, p.detach().numpy(), p.grad.numpy(), average.numpy(), down, across,
                    np.float32(group["lr"]), np.float32(group["weight_decay"]), np.float32(group["momentum"]),
                )  # fmt: skip

        costs = [_update_cost(p, *group["heads"]) for p, _, group in matrices]
        with self._blas.limit(limits=1):
            for _ in self.threads.map(work, shares(costs, self.threads.count)):
                pass


def story_bounds(ids: np.ndarray, begin: int | None) -> list[int]:
    """Return where the stories of blocks [B, T] begin in the flattened blocks, and their end.

    ``<sink>``, at the start of each block, is part of what follows it.
    """
    B, T = ids.shape
    if begin is None:
        return list(range(0, B * T + 1, T))
    starts = ids == begin
    starts[:, :2] = False
    starts[:, 0] = True
    return [*np.flatnonzero(starts).tolist(), B * T]


def chunks(stories: Iterable[tuple[int, int]], room: int) -> Iterator[list[tuple[int, int]]]:
    """Gather stories for one pass, as many as fit in ``room`` positions: larger products are faster."""
    chunk, used = [], 0
    for a, b in stories:
        if used + b - a > room:
            yield chunk
            chunk, used = [], 0
        chunk.append((a, b))
        used += b - a
    if chunk:
        yield chunk


def _update_cost(p: Tensor, down: int, across: int) -> float:
    short, long = sorted((p.shape[0] // down, p.shape[1] // across))
    return down * across * short * short * (17 * short + 2 * long)  # `muon.update`'s products
