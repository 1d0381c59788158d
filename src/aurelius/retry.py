"""Repeating a network request when the network or the service failed, but not when the request was wrong."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

ATTEMPTS = 3
WAIT = 0.5  # seconds before the second attempt; doubled before each further one
NETWORK_LIBRARIES = ("httpx", "httpx2", "httpcore", "requests", "urllib3")


def with_retries(call: Callable[[], T], on_retry: Callable[[Exception], None] = lambda error: None) -> T:
    """Return what ``call`` returns, after at most `ATTEMPTS` attempts with exponential back-off.

    Args:
        call: the request.
        on_retry: called with the error before each further attempt.

    Raises:
        Exception: what the last attempt raised, or the first error that another attempt would not fix.
    """
    for attempt in range(ATTEMPTS):
        try:
            return call()
        except Exception as error:
            if attempt + 1 == ATTEMPTS or not is_transient(error):
                raise
            on_retry(error)
            time.sleep(WAIT * 2**attempt)
    raise AssertionError("unreachable")


def is_transient(error: BaseException) -> bool:
    """Whether the network failed, or the server did (status 429 or 5xx); looks through an error's causes."""
    seen: BaseException | None = error
    while seen is not None:
        if type(seen).__name__ == "OfflineModeIsEnabled":
            return False
        status = getattr(getattr(seen, "response", None), "status_code", None)
        if isinstance(status, int) and status:
            return status == 429 or status >= 500
        library = type(seen).__module__.split(".")[0]
        if isinstance(seen, (ConnectionError, TimeoutError)) or library in NETWORK_LIBRARIES:
            return True
        seen = seen.__cause__ or seen.__context__
    return False
