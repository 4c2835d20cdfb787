"""Which messages wait elsewhere than in their queue."""

from __future__ import annotations

import pytest

from sealwax.transport.parking import should_park


@pytest.mark.parametrize(
    ("seconds", "crowd", "fifo", "parked"),
    [
        (900, 0, False, False),
        (901, 0, False, True),
        (1, 60_000, False, False),
        (1, 60_001, False, True),
        (43_000, 100_000, True, False),
    ],
)
def test_long_waits_and_crowded_queues_are_parked(
    seconds: int, crowd: int, fifo: bool, parked: bool
) -> None:
    assert should_park(seconds, crowd, fifo=fifo) is parked
