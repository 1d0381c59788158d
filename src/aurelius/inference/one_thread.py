"""NumPy's products on one thread.

A product of one token takes microseconds: a second thread helps little when it is idle, and costs most of the
speed as soon as another program keeps its core busy.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = Lock()
_users = 0
_before: list[int] = []


@contextmanager
def one_thread() -> Iterator[None]:
    """Let NumPy's BLAS use one thread; once nobody needs that any more, as many as before.

    It takes three microseconds, and may be entered by several threads at once.
    """
    global _users
    libraries = _libraries()
    with _lock:
        if _users == 0:
            _before[:] = [library.get_num_threads() for library in libraries]
            for library in libraries:
                library.set_num_threads(1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                for library, threads in zip(libraries, _before, strict=True):
                    library.set_num_threads(threads)


@cache
def _libraries() -> list[Any]:
    return ThreadpoolController().select(user_api="blas").lib_controllers
