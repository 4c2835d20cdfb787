"""How many reveals an hour, by all workers together, and that no request is answered twice."""

from __future__ import annotations

from typing import Any

import pytest

from sealwax.control.table import ControlTable, ControlUnreachable
from sealwax.deadletters.reveal_limits import HOUR, RevealLimits
from sealwax.testing.dynamodb import FakeDynamoDB


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> Any:
    return FakeDynamoDB()


def limits(store: Any, clock: Clock) -> RevealLimits:
    """Return what one worker remembers: each has its own, on one table."""
    return RevealLimits(ControlTable(store, "control"), clock=clock, sleep=lambda _: None)


def test_any_hour_holds_so_many_of_all_workers_and_not_one_more(store: Any, clock: Clock) -> None:
    one, two = limits(store, clock), limits(store, clock)
    for worker in (one, two, one):
        assert worker.count("opened", 3)
        clock.now += 600
    assert not one.count("opened", 3)
    assert not two.count("opened", 3)
    # Its hour ends for each reveal by itself: no two full hours meet at an edge.
    clock.now = 1_000_000.0 + HOUR - 0.001
    assert not one.count("opened", 3)
    clock.now = 1_000_000.0 + HOUR
    assert one.count("opened", 3)
    assert not two.count("opened", 3)


def test_what_was_refused_is_counted_apart(store: Any, clock: Clock) -> None:
    worker = limits(store, clock)
    assert worker.count("opened", 1)
    assert worker.count("refused", 1)
    assert not worker.count("refused", 1)


def test_a_limit_that_was_lowered_holds_at_once(store: Any, clock: Clock) -> None:
    worker = limits(store, clock)
    assert all(worker.count("opened", 5) for _ in range(3))
    assert not worker.count("opened", 2)


def test_a_nonce_is_used_once_by_whichever_worker(store: Any, clock: Clock) -> None:
    one, two = limits(store, clock), limits(store, clock)
    assert one.use("ada", "1" * 32)
    assert not two.use("ada", "1" * 32)
    assert not one.use("ada", "1" * 32)
    assert two.use("ada", "2" * 32)
    # Two people may by chance choose one.
    assert two.use("grace", "1" * 32)


class Disturbed(FakeDynamoDB):
    """Another worker counts between this one's look and its write."""

    def __init__(self, clock: Clock, times: int) -> None:
        super().__init__()
        self._clock = clock
        self._left = times

    def get_item(self, **more: Any) -> dict[str, Any]:
        found = super().get_item(**more)
        if self._left > 0:
            self._left -= 1
            left, self._left = self._left, 0
            assert limits(self, self._clock).count("opened", 100)
            self._left = left
        return found


def test_of_two_workers_that_count_at_once_both_are_counted(clock: Clock) -> None:
    store = Disturbed(clock, times=3)
    worker = limits(store, clock)
    assert worker.count("opened", 5)  # the fourth
    assert worker.count("opened", 5)
    assert not worker.count("opened", 5)


def test_whoever_never_comes_to_write_reveals_nothing(clock: Clock) -> None:
    with pytest.raises(ControlUnreachable):
        limits(Disturbed(clock, times=1_000), clock).count("opened", 100)
