"""Threads that share a step's work on a CPU.

PyTorch's own threads wait for each other after every operation, hundreds of times a step: where one core has
something else to do as well, all of them wait for it each time, and spin meanwhile. These do a part of the
step each and meet twice, for the gradients and for the optimizer.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import torch


class Workers:
    """``count`` threads with a share of PyTorch's threads each."""

    def __init__(self, count: int):
        self.count = count
        each = max(1, torch.get_num_threads() // count)
        self._pool = ThreadPoolExecutor(count, "worker", torch.set_num_threads, (each,))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have no other threads of PyTorch meanwhile; they would go on spinning after each operation."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def map(self, function: Callable[..., Any], *arguments: Iterable[Any]) -> Iterator[Any]:
        """Yield what ``function`` returns for each of the ``arguments``, in their order.

        Whatever it raises is raised once no worker is at it any more.
        """
        jobs = deque(self._pool.submit(function, *given) for given in zip(*arguments, strict=True))
        try:
            while jobs:
                yield jobs.popleft().result()
        finally:
            for job in jobs:
                job.cancel()
            wait(jobs)
