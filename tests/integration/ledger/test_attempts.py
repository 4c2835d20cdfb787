"""The ends of attempts: conditional writes on both emulators."""

from __future__ import annotations

import pytest
from support.ledger import JOB, Clock, new_job

from sealwax.ledger import (
    Claimed,
    ClaimLost,
    JobState,
    Ledger,
    Refused,
)


def test_a_job_runs_to_success(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    claim = ledger.claim(JOB, token="t1", lease=30)
    assert isinstance(claim, Claimed)
    assert (claim.entry.attempts, claim.entry.fence) == (1, 1)
    ledger.succeed(JOB, token="t1", result="sealed")
    entry = ledger.get(JOB)
    assert entry is not None
    assert (entry.state, entry.result, entry.attempts) == (JobState.SUCCEEDED, "sealed", 1)
    refused = ledger.claim(JOB, token="t2", lease=30)
    assert isinstance(refused, Refused)
    assert refused.entry is not None
    assert refused.entry.state is JobState.SUCCEEDED


def test_a_finish_whose_answer_was_lost_may_be_repeated(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t1", lease=30)
    ledger.succeed(JOB, token="t1", result="sealed")
    ledger.succeed(JOB, token="t1", result="sealed")


def test_a_retry_keeps_its_cause_and_the_next_claim_counts(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t1", lease=30)
    ledger.retry(JOB, token="t1", due=clock.now + 7, cause="downstream-503", error="Transient")
    entry = ledger.get(JOB)
    assert entry is not None
    assert (entry.state, entry.cause, entry.due) == (
        JobState.RETRYING,
        "downstream-503",
        clock.now + 7,
    )
    assert isinstance(ledger.claim(JOB, token="t2", lease=30), Refused)  # a copy, too early
    clock.now += 5
    claim = ledger.claim(JOB, token="t2", lease=30)
    assert isinstance(claim, Claimed)
    assert claim.entry.attempts == 2
    assert claim.entry.due is None


def test_a_released_attempt_is_not_counted(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t1", lease=30)
    ledger.release(JOB, token="t1")
    claim = ledger.claim(JOB, token="t2", lease=30)
    assert isinstance(claim, Claimed)
    assert claim.entry.attempts == 1


def test_a_dead_job_keeps_its_reason_and_never_expires(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t1", lease=30)
    assert ledger.die(JOB, token="t1", reason="rejected", cause="downstream-400", error="Rejected")
    entry = ledger.get(JOB)
    assert entry is not None
    assert (entry.state, entry.reason, entry.cause) == (JobState.DEAD, "rejected", "downstream-400")
    assert entry.expires is None
    assert isinstance(ledger.claim(JOB, token="t2", lease=30), Refused)


def test_a_running_job_is_not_ended_by_somebody_without_its_token(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t1", lease=30)
    assert not ledger.die(JOB, token=None, reason="unopenable", cause="x", error="E")
    entry = ledger.get(JOB)
    assert entry is not None
    assert entry.state is JobState.RUNNING


def test_crashes_are_counted_apart_from_attempts(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    for number in (1, 2):
        ledger.claim(JOB, token=f"t{number}", lease=30)
        assert ledger.crash(JOB, token=f"t{number}").crashes == number
    with pytest.raises(ClaimLost):
        ledger.crash(JOB, token="t1")


def test_a_verified_death_without_a_claim_is_final(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t1", lease=30)
    ledger.crash(JOB, token="t1")
    assert ledger.die(JOB, token=None, reason="crashed", cause="x", error="E")
    assert isinstance(ledger.claim(JOB, token="t2", lease=30), Refused)


def test_a_job_that_was_to_be_cancelled_is_not_tried_again(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t", lease=30)
    ledger.cancel(JOB)
    assert not ledger.retry(JOB, token="t", due=clock.now, cause="x", error="E")
    assert not ledger.retry(JOB, token="t", due=clock.now, cause="x", error="E")
    entry = ledger.get(JOB)
    assert entry is not None
    assert entry.state is JobState.CANCELLED


def test_a_success_despite_a_cancel_is_a_success(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t", lease=30)
    ledger.cancel(JOB)
    ledger.succeed(JOB, token="t", result="sealed")
    entry = ledger.cancel(JOB)
    assert entry is not None
    assert entry.state is JobState.SUCCEEDED


def test_a_death_before_any_claim_is_final(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    assert ledger.die(
        JOB, token=None, reason="unopenable", cause="key-retired", error="KeyRetired", generation=0
    )
    refused = ledger.claim(JOB, token="t1", lease=30)
    assert isinstance(refused, Refused)
    assert refused.entry is not None
    assert (refused.entry.state, refused.entry.attempts) == (JobState.DEAD, 0)
