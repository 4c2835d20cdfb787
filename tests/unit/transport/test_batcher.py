"""Entries submitted one by one, sent together."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence

import pytest

from sealwax.aws.sqs import BATCH_ENTRIES
from sealwax.telemetry.counters import Counters
from sealwax.transport.batcher import WARM, Batcher
from sealwax.transport.batching import BatchEntry, EntryResult
from sealwax.transport.options import TransportOptions


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


def here(made: Batcher, *, seconds: float = 20.0, group: str | None = None) -> list[EntryResult]:
    outcomes: list[EntryResult] = []
    entry = BatchEntry({}, done=outcomes.append, deadline=time.monotonic() + seconds, group=group)
    made.submit(entry, here=True)
    return outcomes


class Threads(Calls):
    """Calls that note their threads."""

    def __call__(self, entries: Sequence[BatchEntry]) -> list[EntryResult]:
        self.threads = [*getattr(self, "threads", []), threading.current_thread()]
        return super().__call__(entries)


def test_a_lone_entry_goes_by_the_callers_thread_once_calls_are_answered() -> None:
    call = Threads()
    made = batcher(call)
    first = here(made)
    assert made.flush(20)
    assert [outcome.ok for outcome in first] == [True]

    assert [outcome.ok for outcome in here(made)] == [True]  # done when it returns
    assert [outcome.ok for outcome in here(made, group="g")] == [True]
    assert [outcome.ok for outcome in here(made, group="g")] == [True]

    own = threading.current_thread()
    assert [thread is own for thread in call.threads] == [False, True, True, True]
    assert made.pending == 0


def test_a_caller_that_does_not_ask_for_it_makes_no_call() -> None:
    call = Threads()
    made = batcher(call)
    submit(made, 1)
    submit(made, 1)
    assert threading.current_thread() not in call.threads


def test_after_a_long_silence_the_first_call_is_the_batchers() -> None:
    """Its connection is gone by then, and a name is looked up without a time-out."""
    now = [100.0]
    call = Threads()
    made = batcher(call, clock=lambda: now[0])
    here(made)
    assert made.flush(20)
    now[0] += WARM
    here(made)
    assert made.flush(20)
    assert threading.current_thread() not in call.threads


def test_while_a_call_is_under_way_others_gather() -> None:
    entered, leave = threading.Event(), threading.Event()

    def held(entries: Sequence[BatchEntry]) -> list[EntryResult]:
        if len(call.batches) == 2:
            entered.set()
            assert leave.wait(60)
        return [EntryResult(ok=True)] * len(entries)

    call = Threads(held)
    made = batcher(call)
    submit(made, 1)
    lone = threading.Thread(target=here, args=(made,))
    lone.start()
    assert entered.wait(60)
    outcomes = [here(made) for _ in range(BATCH_ENTRIES)]
    assert call.threads[1] is lone
    leave.set()
    lone.join(60)
    assert made.flush(60)

    assert all(outcome.ok for (outcome,) in outcomes)
    assert threading.current_thread() not in call.threads
    assert [len(batch) for batch in call.batches][:2] == [1, 1]
    assert sum(map(len, call.batches)) == 2 + BATCH_ENTRIES


def test_what_fails_by_the_callers_thread_is_tried_again_by_the_batchers() -> None:
    def fail_second(entries: Sequence[BatchEntry]) -> list[EntryResult]:
        return [EntryResult(ok=len(call.batches) != 2, code="Bad", retryable=True)] * len(entries)

    call = Threads(fail_second)
    made = batcher(call)
    here(made)
    assert made.flush(20)
    outcomes = here(made)
    assert made.flush(20)

    assert [outcome.ok for outcome in outcomes] == [True]
    own = threading.current_thread()
    assert [thread is own for thread in call.threads] == [False, True, False]


def test_an_interrupted_caller_leaves_the_batcher_as_it_was() -> None:
    def interrupted(entries: Sequence[BatchEntry]) -> list[EntryResult]:
        if len(call.batches) == 2:
            raise KeyboardInterrupt
        return [EntryResult(ok=True)] * len(entries)

    call = Threads(interrupted)
    made = batcher(call)
    submit(made, 1)
    with pytest.raises(KeyboardInterrupt):
        here(made, group="g")

    assert made.pending == 0
    assert [outcome.ok for outcome in here(made, group="g")] == [True]


def test_where_a_soft_time_limit_may_strike_no_call_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is raised wherever the main thread is: a call would end, and the task go on."""
    import billiard.pool

    call = Threads()
    made = batcher(call)
    submit(made, 1)
    monkeypatch.setattr(billiard.pool, "soft_timeout_sighandler", signal.getsignal(signal.SIGUSR1))
    here(made)
    assert made.flush(20)
    assert threading.current_thread() not in call.threads


@pytest.mark.parametrize(("seconds", "expected"), [(7.0, True), (6.9, False)])
def test_a_caller_less_patient_than_a_calls_time_outs_leaves_it_to_the_batcher(
    seconds: float, *, expected: bool
) -> None:
    made = TransportOptions(connect_timeout=2, read_timeout=5, send_timeout=seconds)
    assert made.lone_here is expected
