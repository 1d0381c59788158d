"""Ctrl-C and SIGTERM, noted so that a step and its checkpoint can finish."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stop:
    """The signal that asked to stop; 0 while none did."""

    signal = 0


@contextmanager
def signals() -> Iterator[Stop]:
    """Note the first Ctrl-C or SIGTERM; the second acts as it would have."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    before = {s: handler for s, handler in before.items() if handler is not signal.SIG_IGN}  # nohup means it

    def note(number: int, _frame: Any) -> None:
        stop.signal = number
        for s, handler in before.items():
            signal.signal(s, handler)

    for s in before:
        signal.signal(s, note)
    try:
        yield stop
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
