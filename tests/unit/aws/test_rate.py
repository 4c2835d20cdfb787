"""A client sends less while it is throttled, and is never held up for long."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sealwax.aws.clients import Aws, AwsTimeouts
from sealwax.aws.rate import LEAST, AdaptiveRate


class Table:
    """A table that takes so many calls a second and throttles the rest."""

    def __init__(self, allowed: float, most: float = 1.0) -> None:
        self.allowed = allowed
        self.now = 100.0
        self.waits: list[float] = []
        self.rate = AdaptiveRate(most, monotonic=lambda: self.now, pause=self._pause)
        self._left, self._second = allowed, 100.0

    def _pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def call(self) -> bool:
        """Make a call of a millisecond; whether it was taken."""
        self.rate._sending()
        self.now += 0.001
        if self.now - self._second >= 1:
            self._left, self._second = self.allowed, self.now
        taken = self._left > 0
        self._left -= 1
        code = {} if taken else {"Error": {"Code": "ThrottlingException"}}
        self.rate._answered(response=(None, code))
        return taken

    def throttled(self, seconds: float) -> float:
        """Call for some seconds; return the share that was throttled."""
        end, calls = self.now + seconds, []
        while self.now < end:
            calls.append(self.call())
        return calls.count(False) / len(calls)


def test_nothing_is_held_up_before_something_was_throttled() -> None:
    table = Table(allowed=1e9)
    assert table.throttled(3) == 0
    assert table.waits == []
    assert table.rate.rate is None


def test_a_throttled_client_sends_what_is_taken_and_little_more() -> None:
    table = Table(allowed=100)
    without = Table(allowed=100, most=0.0)
    assert without.throttled(30) > 0.85
    table.throttled(10)
    assert table.throttled(20) < 0.3


def test_no_call_is_held_up_longer_than_the_bound_nor_sent_more_slowly_than_the_least() -> None:
    table = Table(allowed=0)
    table.throttled(30)
    assert table.rate.rate == LEAST
    assert 0 < max(table.waits) <= 1.0
    slow = Table(allowed=0, most=0.1)
    slow.throttled(30)
    assert max(slow.waits) == pytest.approx(0.1)


def test_the_rate_grows_back_once_nothing_is_throttled() -> None:
    table = Table(allowed=0)
    table.throttled(10)
    table.allowed = 1e9
    table.throttled(40)
    assert table.rate.rate is not None
    assert table.rate.rate > 100


def test_an_answer_that_never_came_says_nothing_about_rates() -> None:
    table = Table(allowed=0)
    table.rate._answered(response=None, caught_exception=OSError())
    assert table.rate.rate is None


@pytest.mark.parametrize(("slow_down", "registered"), [(1.0, True), (0.0, False)])
def test_dynamodb_alone_is_adapted_and_a_setting_turns_it_off(
    monkeypatch: pytest.MonkeyPatch, slow_down: float, *, registered: bool
) -> None:
    made: list[tuple[float, str]] = []

    def rate(most: float) -> Any:
        return SimpleNamespace(register=lambda events, service: made.append((most, service)))

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setattr("sealwax.aws.clients.AdaptiveRate", rate)
    aws = Aws(AwsTimeouts(slow_down=slow_down))
    aws.client("sqs")
    aws.client("dynamodb")
    assert made == [(1.0, "dynamodb")] * registered
