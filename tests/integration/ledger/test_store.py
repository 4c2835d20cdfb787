"""Replays of dead jobs, and their generations."""

from __future__ import annotations

import threading

import pytest
from support.expiries import FAR
from support.ledger import JOB, Clock, dead, new_job

from sealwax.ledger import (
    Claimed,
    JobState,
    Ledger,
    Refused,
)


def test_a_replayed_job_begins_anew_as_its_next_generation(ledger: Ledger, clock: Clock) -> None:
    dead(ledger, clock)
    clock.now += 1_000_000
    entry = ledger.replay(JOB, generation=0)
    assert entry is not None
    assert (entry.state, entry.generation, entry.replays) == (JobState.ACCEPTED, 1, 1)
    assert (entry.attempts, entry.crashes, entry.reason, entry.finished) == (0, 0, None, None)
    assert (entry.since, entry.not_after) == (clock.now, int(clock.now + 60))
    assert entry.created == FAR
    assert entry.expires == int(clock.now + 100)
    claim = ledger.claim(JOB, token="t2", lease=30, generation=1)
    assert isinstance(claim, Claimed)
    assert (claim.entry.attempts, claim.entry.fence) == (1, 2)


def test_a_replay_whose_answer_was_lost_may_be_repeated_until_the_job_runs(
    ledger: Ledger, clock: Clock
) -> None:
    dead(ledger, clock)
    first = ledger.replay(JOB, generation=0)
    assert first is not None
    assert ledger.replay(JOB, generation=0) == first
    ledger.claim(JOB, token="t2", lease=30, generation=1)
    assert ledger.replay(JOB, generation=0) is None
    assert ledger.replay(JOB, generation=1) is None
    ledger.die(JOB, token="t2", reason="rejected", cause="x", error="E")
    assert ledger.replay(JOB, generation=0) is None
    again = ledger.replay(JOB, generation=1)
    assert again is not None
    assert (again.generation, again.replays) == (2, 2)


def test_messages_of_other_generations_claim_nothing(ledger: Ledger, clock: Clock) -> None:
    dead(ledger, clock)
    ledger.replay(JOB, generation=0)
    for generation in (0, 2):
        refused = ledger.claim(JOB, token="t2", lease=30, generation=generation)
        assert isinstance(refused, Refused)
        assert refused.entry is not None
        assert (refused.entry.state, refused.entry.generation) == (JobState.ACCEPTED, 1)
    # Nor does one of the generation before end the job.
    assert not ledger.die(JOB, token=None, reason="unopenable", cause="x", error="E", generation=0)
    assert isinstance(ledger.claim(JOB, token="t2", lease=30, generation=1), Claimed)


@pytest.mark.parametrize("end", ["succeed", "expire", "run", "nothing"])
def test_only_dead_jobs_are_replayed(ledger: Ledger, clock: Clock, end: str) -> None:
    assert ledger.replay(JOB, generation=0) is None
    ledger.accept(new_job(clock))
    if end == "expire":
        ledger.expire(JOB)
    elif end != "nothing":
        ledger.claim(JOB, token="t1", lease=30)
        if end == "succeed":
            ledger.succeed(JOB, token="t1", result=None)
    assert ledger.replay(JOB, generation=0) is None


def test_one_of_many_simultaneous_replays_raises_the_generation_once(
    atomic_ledger: Ledger, clock: Clock
) -> None:
    dead(atomic_ledger, clock)
    entries: list[object] = []
    threads = [
        threading.Thread(target=lambda: entries.append(atomic_ledger.replay(JOB, generation=0)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entries) == 8
    assert all(entry == entries[0] for entry in entries)
    now = atomic_ledger.get(JOB)
    assert now is not None
    assert (now.generation, now.replays) == (1, 1)
