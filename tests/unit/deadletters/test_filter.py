"""Which groups of letters a filter means."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sealwax.deadletters.filter import Filter

GROUP = SimpleNamespace(
    fingerprint="g", queue="q", task="a.b", reason="rejected", cause="http-400", error=None
)


@pytest.mark.parametrize("name", ["queue", "task", "reason", "cause", "error"])
def test_each_field_narrows_by_itself(name: str) -> None:
    value = getattr(GROUP, name)
    assert Filter(**{name: value}).fits(GROUP)
    assert not Filter(**{name: "another"}).fits(GROUP)


def test_all_that_is_set_must_fit() -> None:
    assert Filter().fits(GROUP)
    assert Filter(group="g", task="a.b").fits(GROUP)
    assert not Filter(group="h").fits(GROUP)
    assert not Filter(task="a.b", cause="http-500").fits(GROUP)


@pytest.mark.parametrize(
    ("made", "timed"),
    [(Filter(task="t"), False), (Filter(since=0.0), True), (Filter(until=9), True)],
)
def test_only_times_make_a_filter_narrower_than_its_groups(made: Filter, timed: bool) -> None:
    assert made.timed is timed


def test_a_filter_survives_its_document() -> None:
    made = Filter(task="t", since=0.0)
    assert made.document() == {"task": "t", "since": 0.0}
    assert Filter.from_document(made.document()) == made
