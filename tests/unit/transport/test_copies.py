"""When a message is replaced by a copy, and what is remembered where it may not be."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from support.sqs_lab import message

from sealwax.telemetry.counters import Counters
from sealwax.transport.batching import BatchEntry, EntryResult
from sealwax.transport.carried import CARRIED
from sealwax.transport.copies import Copier
from sealwax.transport.in_flight import Delivery
from sealwax.transport.options import TransportOptions

DAY = 86_400


class Sqs:
    """An engine whose calls a test answers."""

    def __init__(self, *, retention: float = 4 * DAY, **options: Any) -> None:
        self.options = TransportOptions(**options)
        self.counters = Counters()
        self.entries: list[BatchEntry] = []
        self.ends: list[tuple[str, int]] = []
        self._retention = retention
        self.copier = Copier(
            self,  # type: ignore[arg-type]
            copied=lambda delivery: self.ends.append(("deleted", 0)),
            refused=lambda delivery, seconds: self.ends.append(("back", seconds)),
        )

    def url(self, queue: str) -> str:
        return queue

    def retention(self, queue: str) -> float:
        return self._retention

    def calls(self, url: str) -> Any:
        return SimpleNamespace(letters=SimpleNamespace(submit=self.entries.append))

    def receive(self, *, queue: str = "q", age: float = 0.0, receives: int = 1) -> Delivery:
        now = time.time()
        delivery = Delivery(
            token="t", queue=queue, receipt="r", message_id="m", body=message("ok"), attributes={},
            receive_count=receives, sent_at=now - age, first_received_at=now,
            received_at=time.monotonic(), lease_until=0.0, group=None,
        )  # fmt: skip
        self.copier.read(delivery, json.loads(delivery.body))
        return delivery


@pytest.mark.parametrize("queue", ["q", "q.fifo"])
@pytest.mark.parametrize(
    ("seconds", "copied"),
    [(1, False), (900, False), (43_000, False), (43_200, True), (172_800, True), (30 * DAY, True)],
)
def test_a_retry_of_days_is_a_copy_with_its_time(seconds: int, copied: bool, queue: str) -> None:
    sqs = Sqs()
    delivery = sqs.receive(queue=queue)
    assert sqs.copier.retry(delivery, seconds) is copied
    assert len(sqs.entries) == copied
    if copied:
        (entry,) = sqs.entries
        sent = json.loads(entry.fields["MessageBody"])
        due = datetime.fromisoformat(sent["headers"]["eta"]).timestamp()
        assert due == pytest.approx(time.time() + seconds, abs=60)
        assert sent["properties"][CARRIED]["retries"] == 1
        assert not sqs.ends
        entry.done(EntryResult(ok=True))
        assert sqs.ends == [("deleted", 0)]


@pytest.mark.parametrize(
    ("seconds", "days", "age", "receives", "waits"),
    [
        (1, 4, 0, 1, None),  # sent a moment early: no receive of its own
        (30, 4, 0, 1, 30),
        (7_200, 4, 900, 1, 7_200),
        (20 * DAY, 4, 900, 1, 43_190),
        (20 * DAY, 14, 900, 1, 43_190),
        (20 * DAY, 4, 44_000, 2, None),  # one wait a message
        (20 * DAY, 1 / 24, 900, 1, 1_800),
        (20 * DAY, 1 / 24, 2_000, 1, None),  # would be gone before it is received again
        (20 * DAY, 60 / DAY, 15, 1, None),
    ],
)
def test_an_eta_beyond_the_retention_is_kept_by_copies(
    seconds: float, days: float, age: float, receives: int, waits: int | None
) -> None:
    sqs = Sqs(retention=days * DAY)
    found = sqs.copier.early(sqs.receive(age=age, receives=receives), seconds)
    if waits is not None:
        assert found == pytest.approx(waits, abs=5)
        assert not sqs.entries
        return
    assert found == 0
    (entry,) = sqs.entries
    assert 0 < entry.fields["DelaySeconds"] <= min(900, days * DAY / 4)


@pytest.mark.parametrize("outcome", ["refused", "too late", "too large", "fifo", "off"])
def test_a_wait_that_may_not_be_copied_is_remembered(outcome: str) -> None:
    options: dict[str, dict[str, Any]] = {
        "too large": {"message_bytes": 1_024},
        "off": {"copy_waits": False},
    }
    sqs = Sqs(**options.get(outcome, {}))
    queue = "q.fifo" if outcome == "fifo" else "q"
    copied = sqs.copier.wait(sqs.receive(queue=queue), 5)
    assert copied is (outcome in {"refused", "too late"})
    if copied:
        sqs.entries[0].done(EntryResult(ok=False, code="x", retryable=outcome == "too late"))
        assert sqs.ends == [("back", 5)]
    again = sqs.receive(queue=queue, receives=2)
    assert again.waits == 1
    assert again.metadata()["crashes"] == 0
    # What SQS refused for good is not tried again.
    assert again.proven_only is (outcome != "too late")


def test_a_crash_that_may_not_be_copied_still_counts() -> None:
    sqs = Sqs()
    for number in range(3):
        delivery = sqs.receive(receives=number + 1)
        assert delivery.metadata()["crashes"] == number
        if sqs.copier.crash(delivery, 1):
            sqs.entries.pop().done(EntryResult(ok=False, code="AccessDenied"))


@pytest.mark.parametrize("act", ["wait", "retry", "crash"])
def test_nothing_is_copied_where_a_ledger_counts(act: str) -> None:
    sqs = Sqs(headers=frozenset({"id", "task"}))
    call: Callable[..., bool] = getattr(sqs.copier, act)
    assert not call(sqs.receive(), 10 * DAY)
    assert not sqs.entries
    assert sqs.copier.early(sqs.receive(age=3 * DAY, receives=5), 10 * DAY) in {43_190, 43_189}


def test_a_message_whose_copy_is_not_confirmed_is_given_back_at_the_end() -> None:
    sqs = Sqs()
    delivery = sqs.receive()
    assert sqs.copier.wait(delivery, 0)
    assert sqs.copier.unfinished() == [delivery]
    sqs.entries[0].done(EntryResult(ok=True))
    assert not sqs.ends  # it is somebody else's by now
