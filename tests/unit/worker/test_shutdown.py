from __future__ import annotations

import signal
from typing import Any

import pytest

from sealwax.ledger import ClaimLost, LedgerUnreachable
from sealwax.transport.pauses import ConsumerPauses
from sealwax.worker import shutdown as module
from sealwax.worker.shutdown import GracefulShutdown


class FakeConsumer:
    def __init__(self, running: list[tuple[str, str]], events: list[Any]) -> None:
        self._running, self._events = running, events

    def pauses_changed(self, queue: str) -> None:
        pass

    def running(self) -> list[tuple[str, str]]:
        return self._running

    def close(self) -> None:
        self._events.append("closed")


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What happens, in order; signals are noted, not sent."""
    seen: list[Any] = []
    monkeypatch.setattr(module.os, "kill", lambda pid, number: seen.append((number, pid)))
    return seen


def end(events: list[Any], release: Any, children: list[int]) -> None:
    pauses = ConsumerPauses()
    consumer = FakeConsumer([("a", "1"), ("b", "2"), ("c", "3")], events)
    pauses.register(consumer)
    GracefulShutdown(
        pauses, 0.0, release=release, children=lambda: children, end=events.append
    )._run()


def test_attempts_are_released_while_their_children_stand_still(events: list[Any]) -> None:
    end(events, lambda job, token: events.append((job, token)), [7])
    assert events == [
        (signal.SIGSTOP, 7), ("a", "1"), ("b", "2"), ("c", "3"), "closed", (signal.SIGKILL, 7), 0,
    ]  # fmt: skip


def test_an_attempt_that_has_ended_meanwhile_does_not_keep_the_others(events: list[Any]) -> None:
    def release(job: str, token: str) -> None:
        events.append(job)
        if job == "a":
            raise ClaimLost

    end(events, release, [7])
    assert events[1:4] == ["a", "b", "c"]


def test_where_the_ledger_is_away_the_leases_end_by_themselves(events: list[Any]) -> None:
    def release(job: str, token: str) -> None:
        events.append(job)
        raise LedgerUnreachable

    end(events, release, [7])
    assert events == [(signal.SIGSTOP, 7), "a", "closed", (signal.SIGKILL, 7), 0]


def test_what_threads_run_is_not_released_for_it_runs_on(events: list[Any]) -> None:
    end(events, lambda job, token: events.append((job, token)), [])
    assert events == ["closed", 0]
