"""What receives are charged, and how long crashes wait."""

from __future__ import annotations

from sealwax.transport.celery.retries import (
    crash_delay,
    is_exhausted,
    mark_exhausted,
)


def test_crash_delays_grow_to_a_cap() -> None:
    assert [crash_delay(n) for n in (1, 2, 3)] == [1, 2, 4]
    assert crash_delay(1_000) == 300


def test_an_exhausted_exception_keeps_its_mark() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(mark_exhausted(ValueError("x"))))
    assert is_exhausted(error)
    assert not is_exhausted(ValueError("x"))
