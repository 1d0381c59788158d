"""Threads that share the work of a step on a CPU.

PyTorch's own threads synchronise after every operation, hundreds of times per step: if one core is busy with
something else, all of them wait for it each time, spinning. These threads each compute a part of the step and
synchronise twice, for the gradients and for the optimizer.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import torch


class ThreadTeam:
    """``count`` threads."""

    def __init__(self, count: int):
        self.count = count
        self._pool = ThreadPoolExecutor(count, "step")

    @contextmanager
    def without_torch_threads(self) -> Iterator[None]:
        """Keep PyTorch's own threads idle meanwhile; they would spin after each operation."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def map(self, function: Callable[..., Any], *arguments: Iterable[Any]) -> Iterator[Any]:
        """Yield what ``function`` returns for each of the ``arguments``, in their order.

        An exception is raised once no thread is working any more.
        """
        jobs = deque(self._pool.submit(function, *values) for values in zip(*arguments, strict=True))
        try:
            while jobs:
                yield jobs.popleft().result()
        finally:
            for job in jobs:
                job.cancel()
            wait(jobs)
