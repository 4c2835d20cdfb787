from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.aws.sqs import BATCH_ENTRIES
from sealwax.telemetry.counters import Counters
from sealwax.transport.batcher import Batcher
from sealwax.transport.batching import BatchEntry, EntryResult, take_batch
from sealwax.transport.engine import QueueCalls
from sealwax.transport.options import TransportOptions


def entry(size: int = 1, group: str | None = None, **more: object) -> BatchEntry:
    return BatchEntry({}, done=lambda _: None, deadline=1e9, size=size, group=group, **more)  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(1, 60), st.sampled_from([None, "a", "b", "c"])), max_size=40))
def test_batches_hold_every_entry_once_within_all_limits(items: list[tuple[int, str]]) -> None:
    entries = [entry(size, group) for size, group in items]
    ready = deque(entries)
    taken = []
    while ready:
        batch = take_batch(ready, max_bytes=100)
        assert 1 <= len(batch) <= BATCH_ENTRIES
        assert sum(e.size for e in batch) <= 100 or len(batch) == 1
        groups = [e.group for e in batch if e.group]
        assert len(groups) == len(set(groups))
        taken += batch
    assert len(taken) == len(entries)
    for group in "abc":
        assert [e for e in taken if e.group == group] == [e for e in entries if e.group == group]


def test_a_busy_group_waits_and_others_pass_it() -> None:
    first, second, third = entry(group="a"), entry(group="b"), entry(group="a")
    ready = deque([first, second, third])
    assert take_batch(ready, max_bytes=100, busy_groups={"a"}) == [second]
    assert list(ready) == [first, third]


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
    assert done.wait(1)
    assert time.monotonic() - began < 1


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


def test_as_many_deletes_are_under_way_as_there_are_receives() -> None:
    class Endpoint:
        """Answers no delete before three have been asked for at once."""

        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.under_way = 0
            self.together = threading.Event()

        def delete_message_batch(self, *, Entries: list[dict[str, str]], **_: object) -> object:  # noqa: N803 - boto3's name
            with self.lock:
                self.under_way += 1
                if self.under_way == 3:
                    self.together.set()
            # How many entries each batch got depends on the machine's load; with
            # smaller ones there are more calls, which are answered like the others.
            assert self.together.wait(20)
            with self.lock:
                self.under_way -= 1
            return {"Successful": [{"Id": each["Id"]} for each in Entries]}

    engine = SimpleNamespace(
        options=TransportOptions(receivers=3), counters=Counters(), quick=Endpoint(), polling=None
    )
    calls = QueueCalls(engine, "https://sqs.test/1/q")  # type: ignore[arg-type]
    outcomes: list[EntryResult] = []
    for number in range(3 * BATCH_ENTRIES):
        fields = {"ReceiptHandle": str(number)}
        calls.delete.submit(
            BatchEntry(fields, done=outcomes.append, deadline=time.monotonic() + 60)
        )

    assert calls.delete.flush(30)
    assert [each.ok for each in outcomes] == [True] * 3 * BATCH_ENTRIES
    calls.delete.close()
