from __future__ import annotations

import signal
from typing import Any

import pytest

from sealwax.ledger import ClaimLost, LedgerUnreachable
from sealwax.transport.pauses import ConsumerPauses
from sealwax.worker import shutdown as module
from sealwax.worker.shutdown import GracefulShutdown


class FakeConsumer:
    def __init__(self, running: list[tuple[str, str]], told: list[Any]) -> None:
        self._running, self._told = running, told

    def pauses_changed(self, queue: str) -> None:
        pass

    def running(self) -> list[tuple[str, str]]:
        return self._running

    def close(self) -> None:
        self._told.append("closed")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What happens, in order; signals are noted, not sent."""
    seen: list[Any] = []
    monkeypatch.setattr(module.os, "kill", lambda pid, number: seen.append((number, pid)))
    return seen


def end(told: list[Any], release: Any, children: list[int]) -> None:
    pauses = ConsumerPauses()
    consumer = FakeConsumer([("a", "1"), ("b", "2"), ("c", "3")], told)
    pauses.register(consumer)
    GracefulShutdown(
        pauses, 0.0, release=release, children=lambda: children, end=told.append
    )._run()


def test_attempts_are_released_while_their_children_stand_still(told: list[Any]) -> None:
    end(told, lambda job, token: told.append((job, token)), [7])
    assert told == [
        (signal.SIGSTOP, 7), ("a", "1"), ("b", "2"), ("c", "3"), "closed", (signal.SIGKILL, 7), 0,
    ]  # fmt: skip


def test_an_attempt_that_has_ended_meanwhile_does_not_keep_the_others(told: list[Any]) -> None:
    def release(job: str, token: str) -> None:
        told.append(job)
        if job == "a":
            raise ClaimLost

    end(told, release, [7])
    assert told[1:4] == ["a", "b", "c"]


def test_where_the_ledger_is_away_the_leases_end_by_themselves(told: list[Any]) -> None:
    def release(job: str, token: str) -> None:
        told.append(job)
        raise LedgerUnreachable

    end(told, release, [7])
    assert told == [(signal.SIGSTOP, 7), "a", "closed", (signal.SIGKILL, 7), 0]


def test_what_threads_run_is_not_released_for_it_runs_on(told: list[Any]) -> None:
    end(told, lambda job, token: told.append((job, token)), [])
    assert told == ["closed", 0]
