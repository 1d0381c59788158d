"""Requests are repeated when the network or the server failed, and only then."""

import pytest

from aurelius import retry
from aurelius.retry import ATTEMPTS, is_transient, with_retries


class Answer(Exception):
    """An HTTP error as client libraries raise it."""

    def __init__(self, status: int):
        super().__init__(f"status {status}")
        self.response = type("Response", (), {"status_code": status})()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the pauses instead of making them."""
    recorded: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", recorded.append)
    return recorded


def failing(*errors: Exception):
    remaining = list(errors)

    def call() -> str:
        if remaining:
            raise remaining.pop(0)
        return "done"

    return call


@pytest.mark.parametrize(
    "error", [ConnectionResetError(), TimeoutError(), Answer(500), Answer(503), Answer(429)]
)
def test_a_transient_failure_is_tried_again_after_growing_pauses(error: Exception, pauses: list[float]):
    seen: list[Exception] = []
    assert with_retries(failing(*[error] * (ATTEMPTS - 1)), seen.append) == "done"
    assert len(seen) == ATTEMPTS - 1
    assert pauses == [retry.WAIT * 2**n for n in range(ATTEMPTS - 1)]


def test_the_last_failure_is_raised():
    with pytest.raises(TimeoutError):
        with_retries(failing(*[TimeoutError()] * ATTEMPTS))


@pytest.mark.parametrize(
    "error",
    [Answer(400), Answer(401), Answer(404), ValueError(), PermissionError(), OSError(28, "disk full")],
)
def test_other_errors_are_raised_at_once(error: Exception, pauses: list[float]):
    with pytest.raises(type(error)):
        with_retries(failing(error))
    assert pauses == []


def test_the_cause_of_an_error_counts():
    error = RuntimeError("cannot download")
    error.__cause__ = ConnectionRefusedError()
    assert is_transient(error)
    error.__cause__ = Answer(404)
    assert not is_transient(error)
