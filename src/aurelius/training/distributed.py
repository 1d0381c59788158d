"""Several processes that train one model, started by ``torchrun``; a single one without it.

``torchrun`` gives each process its rank, restarts all of them from the last checkpoint when one dies, and
connects the machines. Gradients are summed by `DistributedDataParallel`. Rank 0 also writes checkpoints and
metrics, validates and prints. Earlier and later stages run in one process, without ``torchrun``.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor


class World:
    """This process among all that train together: ``rank`` of ``size``."""

    def __init__(self, single: bool = False):
        together = not single and dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if together else 0
        self.size = dist.get_world_size() if together else 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints for all."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """Add ``value`` up over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def highest(self, value: int) -> int:
        """Return the highest ``value`` of any process; all of them wait for each other here."""
        if self.size == 1:
            return value
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        highest = torch.tensor(value, device=device)
        dist.all_reduce(highest, dist.ReduceOp.MAX)
        return int(highest)


@contextmanager
def process_group(device: torch.device) -> Iterator[World]:
    """Connect to the other processes of this ``torchrun`` call."""
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(rendezvous("env://"))
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        # torchrun keeps its store when it restarts the processes: without a prefix of their own, gloo would
        # wait for the addresses of the dead. (Each machine counts its own restarts.)
        store = dist.PrefixStore(  # pyright: ignore[reportPrivateImportUsage]
            os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store
        )
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield World()
    finally:
        # `DistributedDataParallel` is part of reference cycles. What it holds of the group would live until
        # the interpreter exits, and now and then abort it.
        gc.collect()
        dist.destroy_process_group()
