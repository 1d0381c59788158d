"""Worker processes, or this process if it is alone."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Any

from aurelius.errors import MemoryExhausted
from aurelius.signals import blocked


@contextmanager
def worker_pool(count: int) -> Iterator[Callable[..., Future[Any]]]:
    """Yield a function that submits work to ``count`` processes; with one, it is done at once, here.

    Raises:
        MemoryExhausted: a process was killed.
    """
    if count == 1:
        yield _run_here
        return
    try:
        with ProcessPoolExecutor(count, get_context("spawn"), follow_parent) as pool:

            def submit(*work: Any) -> Future[Any]:
                with blocked():
                    return pool.submit(*work)

            yield submit
    except BrokenProcessPool:
        raise MemoryExhausted(
            "a worker process was killed, most likely because memory ran out; finished work is "
            "kept: run the same command again, with --workers 1"
        ) from None


def _run_here(work: Callable[..., None], *arguments: Any) -> Future[Any]:
    work(*arguments)
    done: Future[Any] = Future()
    done.set_result(None)
    return done


def follow_parent() -> None:
    """Leave Ctrl-C to the parent process, and exit when it does, however that happens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
