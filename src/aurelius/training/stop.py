"""Ctrl-C and SIGTERM, noted so that a step and its checkpoint can finish."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ECHO = 2.0  # seconds in which a second signal is the first one's echo: a group and its launcher both send it


class Stop:
    """The signal that asked to stop, and when (seconds); 0 while none did."""

    signal = 0
    at = 0.0


@contextmanager
def signals() -> Iterator[Stop]:
    """Note the first Ctrl-C or SIGTERM; a later one acts as it would have."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    before = {s: handler for s, handler in before.items() if handler is not signal.SIG_IGN}  # nohup means it

    def note(number: int, _frame: Any) -> None:
        if not stop.signal:
            stop.signal, stop.at = number, time.monotonic()
        elif time.monotonic() - stop.at > ECHO:
            for s, handler in before.items():
                signal.signal(s, handler)
            signal.raise_signal(number)

    for s in before:
        signal.signal(s, note)
    try:
        yield stop
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
