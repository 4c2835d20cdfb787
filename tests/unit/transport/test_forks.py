"""A fork waits for threads that hold locks, and for no longer than its patience."""

from __future__ import annotations

import threading

import pytest
from support.waiting import wait_for

from sealwax.transport import forks
from sealwax.transport.forks import Gate


def test_a_fork_waits_for_who_is_inside_and_keeps_others_out() -> None:
    gate = Gate()
    inside, leave, forked, came = (threading.Event() for _ in range(4))

    def hold() -> None:
        with gate:
            inside.set()
            leave.wait(10)

    def fork() -> None:
        gate.before()
        forked.set()
        came_before = came.is_set()
        gate.after_parent()
        assert not came_before

    def come() -> None:
        with gate:
            came.set()

    holder, forking, late = (threading.Thread(target=each) for each in (hold, fork, come))
    holder.start()
    assert inside.wait(10)
    forking.start()
    wait_for(lambda: gate._forking == 1, what="the fork waits")
    late.start()
    assert not forked.is_set()
    leave.set()
    assert forked.wait(10)
    for thread in (holder, forking, late):
        thread.join(10)
    assert came.is_set()


def test_a_child_begins_with_an_open_and_empty_gate() -> None:
    gate = Gate()
    gate.before()
    gate.after_child()
    with gate:
        assert (gate._inside, gate._forking) == (1, 0)


def test_a_thread_inside_may_fork_itself() -> None:
    gate = Gate()
    with gate, gate:
        gate.before()
        gate.after_parent()
    assert gate._inside == 0


def test_a_fork_is_held_up_no_longer_than_its_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "PATIENCE", 0.01)
    gate = Gate()
    with gate:
        forking = threading.Thread(target=lambda: (gate.before(), gate.after_parent()))
        forking.start()
        forking.join(10)
        assert not forking.is_alive()
