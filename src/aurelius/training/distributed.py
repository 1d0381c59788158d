"""Several processes that train one model, started by ``torchrun``; alone without it.

`torchrun` gives each process its rank, restarts all of them from the last checkpoint when one dies, and finds
the other machines. Gradients are summed by `DistributedDataParallel`. Rank 0 does everything else: the stages
before and after training, validations, checkpoints, what is printed.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(days=7)  # how long the others wait for rank 0's stages before training


class World:
    """This process among all that train together: ``rank`` of ``size``."""

    def __init__(self, alone: bool = False):
        together = not alone and dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if together else 0
        self.size = dist.get_world_size() if together else 1

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """Add ``value`` up over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def highest(self, value: int) -> int:
        """Return the highest ``value`` of any process."""
        if self.size == 1:
            return value
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        found = torch.tensor(value, device=device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)


class Team(World):
    """The processes of one ``torchrun`` call; all but the first wait until it says what to do."""

    def __init__(self):
        super().__init__()
        self.told = False
        self.line: Any = dist.new_group(backend="gloo", timeout=PATIENCE)

    def tell(self, train: bool) -> None:
        """Let the others train now, or go home; the first call counts."""
        if not self.told:
            self.told = True
            self._broadcast(train)

    def hear(self) -> bool:
        """Wait for the first process and return whether to train."""
        return self._broadcast(False)

    @staticmethod
    def leave() -> None:
        """Part, all at once: the first process has more to do, which the others do not wait for."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def _broadcast(self, value: bool) -> bool:
        found = torch.tensor(int(value))
        dist.broadcast(found, 0, group=self.line)
        return bool(found)


@contextmanager
def joined(device: torch.device) -> Iterator[Team]:
    """Meet the other processes of this ``torchrun`` call."""
    # Here, since some builds of PyTorch have none of this and train all the same.
    from torch._C._distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(rendezvous("env://"))
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        # torchrun keeps its store when it restarts the processes: without a name of their own, gloo would
        # wait for the addresses of the dead. (Machines count restarts each for itself.)
        store = PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        team = Team()
        try:
            yield team
        finally:
            if team.first:
                team.tell(False)
    finally:
        Team.leave()
