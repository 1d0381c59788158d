"""Ctrl-C and SIGTERM: what has begun is finished, or kept, and no process stays behind."""

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
def noted() -> Iterator[Stop]:
    """Note the first Ctrl-C or SIGTERM, for a step and its checkpoint to finish; a later one acts."""
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


@contextmanager
def held_back() -> Iterator[None]:
    """Hold Ctrl-C back for a moment: processes that start in it are never disturbed by one, even at birth.

    A terminal sends it to all of them, and this process alone shall answer, once they have all they need.
    They inherit the mask; this process needs a handler too, as the signal may reach a library's thread of it.
    SIGTERM is for this process alone, and waits as long.
    """
    masks, main = hasattr(signal, "pthread_sigmask"), threading.current_thread() is threading.main_thread()
    came: list[int] = []
    both = (signal.SIGINT, signal.SIGTERM) if main else ()
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in both}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else set()
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does, so that nothing is left half-done and no process behind."""

    def end(number: int, _frame: Any) -> None:
        raise KeyboardInterrupt(number)

    before = signal.getsignal(signal.SIGTERM)
    if before is not signal.SIG_DFL or threading.current_thread() is not threading.main_thread():
        yield  # whoever ignores or handles it means that
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
