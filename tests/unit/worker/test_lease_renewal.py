"""Leases are renewed side by side, again and again, and nothing new is received meanwhile."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from support.waiting import wait_for

from sealwax.ledger import LedgerUnreachable
from sealwax.transport.pauses import ConsumerPauses
from sealwax.worker.lease_renewal import REASON, RENEWED_AT_ONCE, LeaseRenewal

JOBS = [(f"{number:032x}", f"token-{number}") for number in range(8)]


class SlowLedger:
    """A runtime whose ledger answers when the test lets it."""

    def __init__(self) -> None:
        self.ledger = self
        self.lock = threading.Lock()
        self.inside = self.most = 0
        self.answer = threading.Event()
        self.away = False
        self.failures = 0
        self.renewed: list[str] = []
        self.asked: list[str] = []

    def current(self) -> SlowLedger:
        return self

    def ledger_failed(self) -> None:
        with self.lock:
            self.failures += 1

    def renew(self, job: str, *, token: str, lease: float) -> bool:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.asked.append(token)
        try:
            assert self.answer.wait(60)
            if self.away:
                raise LedgerUnreachable
            with self.lock:
                self.renewed.append(token)
            return True
        finally:
            with self.lock:
                self.inside -= 1


@pytest.fixture
def ledger() -> SlowLedger:
    return SlowLedger()


def renewal(ledger: SlowLedger, **options: Any) -> tuple[LeaseRenewal, ConsumerPauses]:
    pauses = ConsumerPauses()
    made: Any = ledger
    return LeaseRenewal(made, lease=30, pauses=pauses, queue="q", **options), pauses


def test_eight_renewals_of_a_slow_ledger_take_as_long_as_one(ledger: SlowLedger) -> None:
    made, _ = renewal(ledger)
    made.renew(JOBS)
    wait_for(lambda: ledger.most == len(JOBS), seconds=30, what="all under way at once")
    made.renew(JOBS)  # what is under way is not begun again
    ledger.answer.set()
    wait_for(lambda: len(ledger.renewed) == len(JOBS), seconds=30)
    assert sorted(ledger.asked) == sorted(token for _, token in JOBS)


def test_no_more_are_under_way_than_the_bound(ledger: SlowLedger) -> None:
    made, _ = renewal(ledger)
    jobs = [(f"{number:032x}", str(number)) for number in range(RENEWED_AT_ONCE + 20)]
    made.renew(jobs)
    wait_for(lambda: ledger.most == RENEWED_AT_ONCE, seconds=30)
    ledger.answer.set()
    wait_for(lambda: len(ledger.renewed) == len(jobs), seconds=30)
    assert ledger.most == RENEWED_AT_ONCE


def test_a_failed_renewal_is_tried_again_and_receiving_stops_until_it_is_through(
    ledger: SlowLedger,
) -> None:
    made, pauses = renewal(ledger)
    ledger.away = True
    ledger.answer.set()
    made.renew(JOBS[:1])
    wait_for(lambda: pauses.reasons("q") == {REASON}, seconds=30)
    assert ledger.failures >= 2
    ledger.away = False
    wait_for(lambda: pauses.reasons("q") == frozenset(), seconds=30)
    assert ledger.renewed == [JOBS[0][1]]


def test_one_failure_pauses_nothing(ledger: SlowLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    made, pauses = renewal(ledger)
    paused: list[str] = []
    monkeypatch.setattr(pauses, "pause", lambda queue, reason: paused.append(reason))
    ledger.answer.set()
    ledger.away = True
    genuine = ledger.ledger_failed

    def heal() -> None:
        genuine()
        ledger.away = False

    monkeypatch.setattr(ledger, "ledger_failed", heal)
    made.renew(JOBS[:1])
    wait_for(lambda: len(ledger.renewed) == 1, seconds=30)
    assert paused == []


def test_a_renewal_ends_with_its_lease_and_may_be_begun_again(ledger: SlowLedger) -> None:
    now = [0.0]
    made, pauses = renewal(ledger, monotonic=lambda: now[0])
    ledger.away = True
    ledger.answer.set()
    made.renew(JOBS[:1])
    wait_for(lambda: pauses.reasons("q") == {REASON}, seconds=30)
    now[0] = 31.0
    wait_for(lambda: pauses.reasons("q") == frozenset(), seconds=30)
    ledger.away = False
    made.renew(JOBS[:1])
    wait_for(lambda: ledger.renewed == [JOBS[0][1]], seconds=30)


def test_what_is_no_job_of_ours_is_left_alone(ledger: SlowLedger) -> None:
    made, _ = renewal(ledger)
    ledger.answer.set()
    made.renew([("not-an-id", "token"), JOBS[1]])
    wait_for(lambda: len(ledger.renewed) == 1, seconds=30)
    assert ledger.asked == [JOBS[1][1]]
