"""Pauses and drains in the control table."""

from __future__ import annotations

from support.expiries import FAR

from sealwax.control import Pauses


def test_a_pause_is_begun_once_and_ended_once(table):
    pauses = Pauses(table, clock=lambda: FAR)
    assert pauses.pause("lane", "default", by="token:a", reason=" too\nhot ")
    assert not pauses.pause("lane", "default", by="token:b")
    assert pauses.pause("task", "webhooks.relay", by="token:b")
    found = {(pause.what, pause.name): pause for pause in pauses.all()}
    assert found["lane", "default"].by == "token:a"
    assert found["lane", "default"].reason == "too hot"
    assert set(found) == {("lane", "default"), ("task", "webhooks.relay")}
    assert pauses.resume("lane", "default")
    assert not pauses.resume("lane", "default")
    assert pauses.drain("w", by="token:a")
    assert not pauses.drain("w", by="token:a")
    assert pauses.drained("w")
    assert [drain.name for drain in pauses.drains()] == ["w"]
    assert pauses.undrain("w")
    assert not pauses.undrain("w")
