"""Claims, and what is held against a job whose claim was lost: on both emulators."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace

import pytest
from support.ledger import JOB, Clock, new_job

from sealwax.ledger import (
    LOST_MOST,
    Claimed,
    ClaimLost,
    JobState,
    Ledger,
    LedgerEntry,
    Refused,
)


def test_a_running_job_is_not_claimed_until_its_lease_ends(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t1", lease=30)
    clock.now += 29
    assert isinstance(ledger.claim(JOB, token="t2", lease=30), Refused)
    running = ledger.get(JOB)
    assert running is not None
    assert ledger.suspect(running) is None
    clock.now += 2
    assert ledger.suspect(running) is not None
    assert ledger.suspect(running) is None
    second = ledger.claim(JOB, token="t2", lease=30)
    assert isinstance(second, Claimed)
    # The lost attempt is given back: nobody knows that the job was to blame.
    assert (second.entry.attempts, second.entry.fence, second.entry.suspicions) == (1, 2, 1)
    with pytest.raises(ClaimLost):
        ledger.succeed(JOB, token="t1", result=None)
    with pytest.raises(ClaimLost):
        ledger.retry(JOB, token="t1", due=0, cause="x", error="E")
    assert not ledger.die(JOB, token="t1", reason="rejected", cause="x", error="E")
    assert not ledger.renew(JOB, token="t1", lease=30)
    assert ledger.renew(JOB, token="t2", lease=30)


def test_a_claim_whose_answer_was_lost_is_granted_again_uncounted(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t1", lease=30)
    again = ledger.claim(JOB, token="t1", lease=30)
    assert isinstance(again, Claimed)
    assert again.entry.attempts == 1


def test_unknown_jobs_are_refused_everywhere(ledger: Ledger) -> None:
    assert ledger.get(JOB) is None
    assert ledger.claim(JOB, token="t1", lease=30) == Refused(None)
    assert not ledger.die(JOB, token=None, reason="malformed", cause="x", error="E")
    assert not ledger.abandon(JOB, acceptance="a")


def test_one_of_many_simultaneous_claims_wins(atomic_ledger: Ledger, clock: Clock) -> None:
    atomic_ledger.accept(new_job(clock))
    outcomes: list[object] = []
    threads = [
        threading.Thread(
            target=lambda n=n: outcomes.append(atomic_ledger.claim(JOB, token=f"t{n}", lease=30))
        )
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(outcome, Claimed) for outcome in outcomes) == 1


def test_no_attempt_starts_before_its_time_nor_after_its_expiry(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(replace(new_job(clock), not_before=clock.now + 10, run_before=clock.now + 20))
    assert isinstance(ledger.claim(JOB, token="t", lease=30), Refused)
    clock.now += 9  # two seconds early will do
    assert isinstance(ledger.claim(JOB, token="t", lease=30), Claimed)
    ledger.retry(JOB, token="t", due=clock.now, cause="x", error="E")
    clock.now += 11
    assert isinstance(ledger.claim(JOB, token="t", lease=30), Refused)
    assert ledger.expire(JOB)
    entry = ledger.get(JOB)
    assert entry is not None
    assert (entry.state, entry.watch) == (JobState.EXPIRED, None)


def test_after_two_suspicions_a_job_runs_alone_and_a_lone_loss_is_a_crash(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(new_job(clock))
    for number in (1, 2):
        claim = ledger.claim(JOB, token=f"t{number}", lease=30)
        assert isinstance(claim, Claimed)
        assert claim.entry.attempts == 1
        clock.now += 31
        suspected = ledger.suspect(claim.entry)
        assert suspected is not None
        assert (suspected.suspicions, suspected.crashes) == (number, 0)
    assert isinstance(ledger.claim(JOB, token="t3", lease=30), Refused)
    claim = ledger.claim(JOB, token="t3", lease=30, alone=True)
    assert isinstance(claim, Claimed)
    assert claim.entry.alone
    clock.now += 31
    crashed = ledger.suspect(claim.entry)
    assert crashed is not None
    assert (crashed.suspicions, crashed.crashes, crashed.alone) == (2, 1, False)
    again = ledger.claim(JOB, token="t4", lease=30, alone=True)
    assert isinstance(again, Claimed)
    assert again.entry.attempts == 2


@pytest.mark.parametrize(
    "bound", [{"task": "test.other"}, {"tenant": "cd" * 16}, {"lane": "other"}]
)
def test_a_message_bound_to_something_else_claims_and_changes_nothing(
    ledger: Ledger, clock: Clock, bound: dict[str, str]
) -> None:
    ledger.accept(new_job(clock))
    before = ledger.get(JOB)
    assert before is not None
    own = {"task": before.task, "tenant": before.tenant, "lane": before.lane}
    assert ledger.claim(JOB, token="t1", lease=30, **(own | bound)) == Refused(before)
    assert ledger.get(JOB) == before
    assert isinstance(ledger.claim(JOB, token="t1", lease=30, **own), Claimed)


def test_a_reference_that_no_request_recorded_claims_nothing(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock, claim_checks=("mine",)))
    refused = ledger.claim(JOB, token="t1", lease=30, claim_check="another")
    assert isinstance(refused, Refused)
    assert refused.entry is not None
    assert (refused.entry.state, refused.entry.attempts) == (JobState.ACCEPTED, 0)
    assert isinstance(ledger.claim(JOB, token="t1", lease=30, claim_check="mine"), Claimed)


def test_a_job_whose_message_carries_its_envelope_is_not_claimed_by_reference(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(new_job(clock))
    assert isinstance(ledger.claim(JOB, token="t1", lease=30, claim_check="any"), Refused)
    assert isinstance(ledger.claim(JOB, token="t1", lease=30), Claimed)


def test_an_earlier_jobs_message_claims_nothing(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    early = ledger.claim(JOB, token="t1", lease=30, born_by=clock.now - 1)
    assert isinstance(early, Refused)
    assert isinstance(ledger.claim(JOB, token="t1", lease=30, born_by=clock.now), Claimed)


def lose(ledger: Ledger, clock: Clock, token: str, *, alone: bool = False) -> None:
    """Let an attempt's lease end, and take the job from it."""
    claim = ledger.claim(JOB, token=token, lease=30, alone=alone)
    assert isinstance(claim, Claimed)
    clock.now += 31
    assert ledger.suspect(claim.entry) is not None


def counts(ledger: Ledger) -> tuple[int, int]:
    """Return the job's suspicions and crashes."""
    entry = ledger.get(JOB)
    assert entry is not None
    return entry.suspicions, entry.crashes


WORDS = {
    "renew": lambda ledger: ledger.renew(JOB, token="t1", lease=30),
    "progress": lambda ledger: ledger.progress(JOB, token="t1", done=1, total=None, phase=None),
    "succeed": lambda ledger: ledger.succeed(JOB, token="t1", result=None),
    "retry": lambda ledger: ledger.retry(JOB, token="t1", due=0, cause="x", error="E"),
    "stop": lambda ledger: ledger.stop(JOB, token="t1"),
    "release": lambda ledger: ledger.release(JOB, token="t1"),
    "crash": lambda ledger: ledger.crash(JOB, token="t1"),
    "die": lambda ledger: ledger.die(JOB, token="t1", reason="rejected", cause="x", error="E"),
}


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("taken", [False, True], ids=["waits", "runs-elsewhere"])
def test_a_worker_that_comes_back_takes_its_suspicion_back(
    ledger: Ledger, clock: Clock, word: str, *, taken: bool
) -> None:
    ledger.accept(new_job(clock))
    lose(ledger, clock, "t0")
    lose(ledger, clock, "t1")
    if taken:
        ledger.claim(JOB, token="t2", lease=30, alone=True)
    assert counts(ledger) == (2, 0)
    for _ in range(2):  # once, however often it speaks
        with contextlib.suppress(ClaimLost):
            WORDS[word](ledger)
        assert counts(ledger) == (1, 0)
    assert ledger.renew(JOB, token="t2", lease=30) == taken


def test_a_worker_that_comes_back_takes_the_crash_of_a_lone_loss_back(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(new_job(clock))
    lose(ledger, clock, "t0")
    lose(ledger, clock, "t1", alone=True)
    assert counts(ledger) == (1, 1)
    assert not ledger.renew(JOB, token="t1", lease=30)
    assert counts(ledger) == (1, 0)


def test_an_attempt_that_its_worker_survived_takes_a_suspicion_away(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(new_job(clock))
    for number in range(2):
        lose(ledger, clock, f"lost{number}")
    for number, left in enumerate((1, 0, 0)):
        claim = ledger.claim(JOB, token=f"t{number}", lease=30, alone=not number)
        assert isinstance(claim, Claimed)
        ledger.retry(
            JOB, token=f"t{number}", due=0, cause="x", error="E",
            suspicions=claim.entry.suspicions,
        )  # fmt: skip
        assert counts(ledger) == (left, 0)
    # A late word of a worker lost before that takes nothing away twice.
    ledger.renew(JOB, token="lost0", lease=30)
    assert counts(ledger) == (0, 0)


def test_a_loss_among_others_is_a_crash_only_after_many_in_a_row(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(new_job(clock))
    for number in range(LOST_MOST):
        claim = ledger.claim(JOB, token=f"t{number}", lease=30, alone=True)
        assert isinstance(claim, Claimed)
        # Neighbours came in before it was lost.
        assert ledger.not_alone(JOB, token=f"t{number}")
        clock.now += 31
        assert ledger.suspect(_entry(ledger)) is not None
        assert counts(ledger) == (number + 1, 0)
    lose_last = ledger.claim(JOB, token="last", lease=30, alone=True)
    assert isinstance(lose_last, Claimed)
    assert ledger.not_alone(JOB, token="last")
    clock.now += 31
    assert ledger.suspect(_entry(ledger)) is not None
    assert counts(ledger) == (LOST_MOST, 1)


def _entry(ledger: Ledger) -> LedgerEntry:
    entry = ledger.get(JOB)
    assert entry is not None
    return entry
