"""How many slots a tenant, or a task, has."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest

from sealwax.transport.celery.shares import REMEMBERED, Share, SlotShares


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_who_is_alone_has_all_slots_and_half_once_another_came() -> None:
    clock = Clock()
    share = Share(5, None, monotonic=clock)
    share.see("a")
    assert share.limit("a") is None
    share.see("b")
    assert (share.limit("a"), share.limit("b"), share.limit("c")) == (3, 3, 3)
    clock.now = REMEMBERED - 0.1
    share.see("a")
    assert share.limit("a") == 3
    clock.now = REMEMBERED
    assert (share.limit("a"), share.limit("b")) == (None, 3)


@pytest.mark.parametrize(("most", "expected"), [(0, None), (1, 1), (7, 7)])
def test_a_limit_that_is_set_holds_for_who_is_alone(most: int, expected: int | None) -> None:
    share = Share(4, most)
    share.see("a")
    assert share.limit("a") == expected
    assert share.limit(None) is None


def test_names_that_are_remembered_are_bounded() -> None:
    share = Share(4, None)
    for number in range(5_000):
        share.see(str(number))
    assert len(share._seen) == 1_000


def test_a_request_ends_once_and_one_that_is_gone_has_ended() -> None:
    shares = SlotShares(4, per_tenant=2, per_route=3)
    key = ("a", "t")
    one, two = SimpleNamespace(released=False), SimpleNamespace(released=False)
    shares.start(key, one)
    assert shares.admits(key)
    shares.start(key, two)
    assert not shares.admits(key)
    assert shares.admits(("b", "t"))
    shares.end(one)
    shares.end(one)
    assert shares.admits(key)
    shares.start(key, one)
    assert not shares.admits(key)
    shares.forget_gone()
    assert not shares.admits(key)
    two.released = True
    shares.forget_gone()
    assert shares.admits(key)


def test_a_task_has_its_share_whoever_sends_it() -> None:
    shares = SlotShares(4, per_route=2)
    for tenant in "ab":
        shares.start((tenant, "t"), object())
    assert not shares.admits(("c", "t"))
    assert not shares.admits((None, "t"))
    assert shares.admits(("c", "u"))


def test_what_waits_has_the_same_share_of_the_prefetch() -> None:
    shares = SlotShares(4, per_tenant=2, prefetch=3)
    key = ("a", "t")
    waiting: Counter[tuple[int, str | None]] = Counter({(0, "a"): 100})
    assert not shares.surplus(key, waiting)
    for _ in range(2):
        shares.start(key, object())
    assert shares.surplus(key, waiting)
    waiting[0, "a"] = 3
    assert not shares.surplus(key, waiting)
    waiting[0, "a"] = 4
    assert shares.surplus(key, waiting)
    assert not shares.surplus(("b", "t"), waiting)
