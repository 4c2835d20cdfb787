"""Backoff as a value: bounds, cap, jitter, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.errors import ConfigurationError
from sealwax.retry import MAX_DELAY, RetryPolicy


@pytest.mark.parametrize(
    ("policy", "attempt", "chance", "delay"),
    [
        ({"base": 2, "jitter": False}, 1, 0.0, 2),
        ({"base": 2, "jitter": False}, 2, 0.9, 4),
        ({"base": 2, "jitter": False}, 5, 0.5, 32),
        ({"base": 2, "cap": 10, "jitter": False}, 3, 0.5, 8),
        ({"base": 2, "cap": 10, "jitter": False}, 4, 0.5, 10),
        ({"base": 2, "cap": 10, "jitter": False}, 10_000, 0.5, 10),
        ({"base": 2}, 3, 0.0, 0),
        ({"base": 2}, 3, 0.5, 4),
        ({"base": 2, "cap": 6}, 3, 0.5, 3),
        ({"base": 0, "cap": 0}, 4, 0.9, 0),
        ({"base": 0.001, "jitter": False}, 100, 0.5, 900),
    ],
)
def test_delays(policy: dict[str, Any], attempt: int, chance: float, delay: float) -> None:
    assert RetryPolicy(**policy).delay(attempt, chance) == pytest.approx(delay)


@given(
    base=st.floats(0, MAX_DELAY),
    cap=st.floats(0, MAX_DELAY),
    attempt=st.integers(1, 10**9),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_a_delay_is_never_negative_nor_above_the_cap(
    base: float, cap: float, attempt: int, chance: float
) -> None:
    policy = RetryPolicy(base=min(base, cap), cap=cap)
    assert 0 <= policy.delay(attempt, chance) <= cap


@given(st.integers(1, 99))
def test_bounds_do_not_shrink(attempt: int) -> None:
    policy = RetryPolicy(jitter=False)
    assert policy.delay(attempt, 0.0) <= policy.delay(attempt + 1, 0.0)


@pytest.mark.parametrize(
    "good",
    [
        {"attempts": 1},
        {"attempts": 100},
        {"base": 0, "cap": 0},
        {"base": MAX_DELAY, "cap": MAX_DELAY},
        {"max_age": 0.001},
    ],
    ids=repr,
)
def test_values_at_their_edges_are_taken(good: dict[str, Any]) -> None:
    RetryPolicy(**good)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"attempts": 0}, "attempts"),
        ({"attempts": -1}, "attempts"),
        ({"attempts": 101}, "attempts"),
        ({"base": -1}, "base"),
        ({"base": 10, "cap": 9}, "base"),
        ({"cap": MAX_DELAY + 1}, "cap"),
        ({"base": float("nan")}, "base"),
        ({"max_age": 0}, "max_age"),
        ({"max_age": -5}, "max_age"),
    ],
    ids=repr,
)
def test_values_that_would_loop_or_never_try_are_refused(bad: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        RetryPolicy(**bad)


def test_a_policy_is_a_value() -> None:
    assert RetryPolicy(attempts=3) == RetryPolicy(attempts=3)
    assert len({RetryPolicy(), RetryPolicy()}) == 1
