"""Entries submitted one by one, sent together."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from sealwax.aws.sqs import BATCH_ENTRIES
from sealwax.telemetry.counters import Counters
from sealwax.transport.batcher import Batcher
from sealwax.transport.batching import BatchEntry, EntryResult


class Calls:
    def __init__(self, outcomes: object = None, pause: float = 0.0) -> None:
        self.batches: list[list[BatchEntry]] = []
        self.outcomes = outcomes
        self.pause = pause

    def __call__(self, entries: Sequence[BatchEntry]) -> list[EntryResult]:
        self.batches.append(list(entries))
        time.sleep(self.pause)
        if callable(self.outcomes):
            return self.outcomes(entries)  # type: ignore[no-any-return]
        return [EntryResult(ok=True) for _ in entries]


def batcher(call: Calls, **options: object) -> Batcher:
    settings = {"linger": 0.05, "immediate": True, "concurrency": 1} | options
    return Batcher(call, kind="send", counters=Counters(), **settings)  # type: ignore[arg-type]


def submit(made: Batcher, count: int, *, seconds: float = 5.0) -> list[EntryResult]:
    outcomes: list[EntryResult] = []
    for _ in range(count):
        made.submit(BatchEntry({}, done=outcomes.append, deadline=time.monotonic() + seconds))
    assert made.flush(seconds + 1)
    return outcomes


def test_a_lone_entry_goes_at_once() -> None:
    call = Calls()
    made = batcher(call, linger=30.0)
    began = time.monotonic()
    done = threading.Event()
    made.submit(BatchEntry({}, done=lambda _: done.set(), deadline=began + 5))
    assert done.wait(4)
    assert time.monotonic() - began < 4  # it was not kept for company


def test_entries_that_come_during_a_call_share_the_next() -> None:
    call = Calls(pause=0.05)
    outcomes = submit(batcher(call), 41)
    assert len(outcomes) == 41
    assert len(call.batches) <= 6
    assert max(map(len, call.batches)) == BATCH_ENTRIES


def test_each_entry_gets_its_own_outcome_and_failed_ones_are_tried_again() -> None:
    tries: dict[int, int] = {}

    def fail_odd_once(entries: Sequence[BatchEntry]) -> list[EntryResult]:
        found = []
        for item in entries:
            tries[id(item)] = tries.get(id(item), 0) + 1
            bad = tries[id(item)] == 1 and len(tries) % 2
            found.append(EntryResult(ok=not bad, code="Bad" if bad else "", retryable=True))
        return found

    outcomes = submit(batcher(Calls(fail_odd_once)), 6)
    assert all(outcome.ok for outcome in outcomes)
    assert sorted(tries.values()) == [1, 1, 1, 2, 2, 2]


def test_what_cannot_succeed_is_told_at_once() -> None:
    refuse = Calls(lambda entries: [EntryResult(ok=False, code="No")] * len(entries))
    (outcome,) = submit(batcher(refuse), 1)
    assert (outcome.ok, outcome.code) == (False, "No")
    assert len(refuse.batches) == 1


def test_a_failing_entry_is_given_up_at_its_deadline() -> None:
    refuse = Calls(
        lambda entries: [EntryResult(ok=False, code="Busy", retryable=True)] * len(entries)
    )
    began = time.monotonic()
    (outcome,) = submit(batcher(refuse), 1, seconds=0.5)
    assert outcome.code == "Busy"
    assert time.monotonic() - began < 1
    assert len(refuse.batches) > 1


def test_a_cancelled_entry_is_never_sent() -> None:
    call = Calls(pause=0.2)
    made = batcher(call)
    blocker = BatchEntry({}, done=lambda _: None, deadline=time.monotonic() + 5)
    victim = BatchEntry({}, done=lambda _: pytest.fail("told"), deadline=time.monotonic() + 5)
    made.submit(blocker)
    time.sleep(0.05)
    made.submit(victim)
    assert made.cancel(victim)
    assert made.flush(5)
    assert [blocker] in call.batches
    assert all(victim not in batch for batch in call.batches)


def test_a_group_keeps_its_order_while_its_first_is_tried_again() -> None:
    sent: list[int] = []
    failures = {1: 2}

    def fail_first(entries: Sequence[BatchEntry]) -> list[EntryResult]:
        found = []
        for item in entries:
            number = item.fields["n"]
            if failures.get(number, 0):
                failures[number] -= 1
                found.append(EntryResult(ok=False, code="Busy", retryable=True))
            else:
                sent.append(number)
                found.append(EntryResult(ok=True))
        return found

    made = batcher(Calls(fail_first), concurrency=3)
    for number in range(1, 6):
        made.submit(
            BatchEntry({"n": number}, done=lambda _: None, deadline=time.monotonic() + 5, group="g")
        )
    assert made.flush(5)
    assert sent == [1, 2, 3, 4, 5]
