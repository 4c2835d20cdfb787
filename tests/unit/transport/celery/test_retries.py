"""What receives are charged, and how long crashes wait."""

from __future__ import annotations

import time

import pytest

from sealwax.transport.celery.retries import (
    crash_delay,
    is_exhausted,
    mark_exhausted,
    receives_charged,
)


@pytest.mark.parametrize(
    ("receives", "eta", "delayed", "charged"),
    [
        (1, None, None, 0),
        (3, None, None, 2),
        (2, 900, 900, 1),  # SQS waited itself: the second receive was a retry
        (2, 3_600, 900, 0),  # the first receive only waited on
        (3, 3_600, 900, 1),
    ],
)
def test_receives_are_charged_but_not_those_that_waited_for_an_eta(
    receives: int, eta: int | None, delayed: int | None, charged: int
) -> None:
    sent = time.time()
    from datetime import UTC, datetime

    text = datetime.fromtimestamp(sent + eta, UTC).isoformat() if eta else None
    metadata = {"receive_count": receives, "sent_at": sent}
    assert receives_charged(metadata, text, delayed=delayed) == charged


def test_crash_delays_grow_to_a_cap() -> None:
    assert [crash_delay(n) for n in (1, 2, 3)] == [1, 2, 4]
    assert crash_delay(1_000) == 300


def test_an_exhausted_exception_keeps_its_mark() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(mark_exhausted(ValueError("x"))))
    assert is_exhausted(error)
    assert not is_exhausted(ValueError("x"))
