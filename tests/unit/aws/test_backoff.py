"""Exponential backoff."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.aws.backoff import backoff, jittered


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(-1, 1.0), (0, 1.0), (1, 2.0), (3, 8.0), (4, 10.0), (10**6, 10.0)]
)
def test_it_doubles_up_to_its_cap(attempt: int, seconds: float) -> None:
    assert backoff(attempt, base=1.0, cap=10.0) == seconds


@given(st.integers(0, 10_000))
def test_jitter_keeps_between_half_and_all_of_it(attempt: int) -> None:
    bound = backoff(attempt, base=0.1, cap=3.0)
    assert bound / 2 <= jittered(attempt) <= bound
