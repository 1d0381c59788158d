"""Ctrl-C, SIGTERM and SIGHUP: what has begun is finished or kept, and no process is left behind.

SIGTERM comes from ``kill`` and job schedulers, SIGHUP from a terminal that is closed.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Windows has no SIGHUP.
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
ECHO = 2.0  # seconds; a second signal within them is an echo: a process group and its launcher both send it


class Stop:
    """The signal that asked to stop, and when (seconds); 0 as long as none did."""

    signal = 0
    at = 0.0


@contextmanager
def deferred() -> Iterator[Stop]:
    """Record the first of the signals, so that a step and its checkpoint can finish; a later one acts."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, *ENDING)}
    before = {s: handler for s, handler in before.items() if handler is not signal.SIG_IGN}  # nohup means it

    def record(number: int, _frame: Any) -> None:
        if not stop.signal:
            stop.signal, stop.at = number, time.monotonic()
        elif time.monotonic() - stop.at > ECHO:
            for s, handler in before.items():
                signal.signal(s, handler)
            signal.raise_signal(number)

    for s in before:
        signal.signal(s, record)
    try:
        yield stop
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


@contextmanager
def blocked() -> Iterator[None]:
    """Delay Ctrl-C for a moment; processes started meanwhile are never disturbed by one.

    A terminal sends it to all processes, and only this one should respond, once the others have everything
    they need. They inherit the mask; this process also needs a handler, because the signal may reach one of
    its libraries' threads. The others are sent only to this process, and are delayed as well.
    """
    can_mask, main = hasattr(signal, "pthread_sigmask"), threading.current_thread() is threading.main_thread()
    received: list[int] = []
    delayed = (signal.SIGINT, *ENDING) if main else ()
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in delayed}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if can_mask else set()
    try:
        yield
    finally:
        if can_mask:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does, so that nothing is left half-done."""

    def end(number: int, _frame: Any) -> None:
        raise KeyboardInterrupt(number)

    main = threading.current_thread() is threading.main_thread()
    # Whoever ignores one (as nohup does) or handles it does so on purpose.
    changed = [s for s in ENDING if main and signal.getsignal(s) is signal.SIG_DFL]
    for number in changed:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)
