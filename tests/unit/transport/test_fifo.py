"""FIFO groups: one message at a time, in order."""

from __future__ import annotations

from support.deliveries import delivery

from sealwax.transport.fifo import FifoGroups


def test_a_group_runs_one_at_a_time_in_order() -> None:
    groups = FifoGroups()
    first, second, third = (delivery(t, "g") for t in "abc")
    assert groups.admit(first)
    assert not groups.admit(second)
    assert not groups.admit(third)
    assert groups.admit(delivery("x", "other"))
    assert groups.finished(first) is second
    assert groups.finished(second) is third
    assert groups.finished(third) is None
    assert groups.admit(delivery("d", "g"))


def test_a_head_that_goes_back_takes_its_mates_along() -> None:
    groups = FifoGroups()
    first, second = delivery("a", "g"), delivery("b", "g")
    groups.admit(first)
    groups.admit(second)
    assert groups.returned(first) == [second]
    assert groups.admit(delivery("c", "g"))


def test_standard_queues_have_no_groups() -> None:
    groups = FifoGroups()
    assert groups.admit(delivery("a"))
    assert groups.admit(delivery("b"))
