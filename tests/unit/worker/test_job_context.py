"""The check of a running task stops it before others may have its job."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sealwax.job import LeaseLost
from sealwax.ledger import JobState, LedgerUnreachable
from sealwax.worker import job_context
from sealwax.worker.job_context import LeaseChecker


class Lease:
    """A lease of 30 s in a ledger whose answers take their time, or do not come."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.takes, self.away = 0.0, 0.0, False
        self.until = 30.0
        self.failures = 0
        monkeypatch.setattr(job_context, "time", SimpleNamespace(monotonic=lambda: self.now))
        runtime: Any = SimpleNamespace(
            ledger=self, clock=lambda: self.now, ledger_failed=self._failed
        )
        entry: Any = SimpleNamespace(id="j")
        self.check = LeaseChecker(runtime, entry, "t", lease=30)

    def _failed(self) -> None:
        self.failures += 1

    def get(self, job_id: str) -> Any:
        self.now += self.takes
        if self.away:
            raise LedgerUnreachable
        return SimpleNamespace(
            state=JobState.RUNNING, token="t", cancel_asked=None, lease_until=self.until
        )


def test_it_stops_in_time_although_the_last_look_was_a_moment_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lease = Lease(monkeypatch)
    lease.away = True
    lease.now = 24.0
    lease.check()
    assert lease.failures == 1
    lease.now = 25.1  # the next look would be due at 26
    with pytest.raises(LeaseLost):
        lease.check()


def test_it_stops_where_the_look_took_what_the_lease_had_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lease = Lease(monkeypatch)
    lease.away, lease.takes = True, 15.0
    lease.now = 20.0
    with pytest.raises(LeaseLost):
        lease.check()


def test_it_goes_on_under_a_slow_ledger_that_renews(monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease(monkeypatch)
    lease.takes = 3.0
    for _ in range(20):
        lease.now += 5
        lease.until = lease.now + 20
        lease.check()
