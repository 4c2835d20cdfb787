"""Acceptance, cancelling and abandoning of jobs: conditional writes on both emulators."""

from __future__ import annotations

import threading

from support.expiries import FAR
from support.ledger import JOB, Clock, new_job, numbered, watched

from sealwax.ledger import (
    CLAIM_CHECKS_MAX,
    Accepted,
    Claimed,
    JobState,
    Ledger,
    Refused,
)


def test_an_id_is_accepted_once_and_the_second_sees_the_first(ledger: Ledger, clock: Clock) -> None:
    first = ledger.accept(new_job(clock, fingerprint="v1:aa"))
    clock.now += 5
    second = ledger.accept(new_job(clock, fingerprint="v1:bb"))
    assert first.created
    assert not second.created
    assert second.entry.fingerprint == "v1:aa"
    assert second.entry.created == FAR
    assert second.entry.state is JobState.ACCEPTED


def test_an_abandoned_job_never_runs_but_may_be_accepted_again(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(new_job(clock))
    assert ledger.abandon(JOB, acceptance="a")
    assert isinstance(ledger.claim(JOB, token="t1", lease=30), Refused)
    clock.now += 10
    assert ledger.reaccept(new_job(clock))
    assert not ledger.reaccept(new_job(clock))
    assert isinstance(ledger.claim(JOB, token="t1", lease=30), Claimed)
    assert not ledger.abandon(JOB, acceptance="a")


def test_one_of_many_simultaneous_accepts_creates(atomic_ledger: Ledger, clock: Clock) -> None:
    outcomes: list[Accepted] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(atomic_ledger.accept(new_job(clock))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(outcome.created for outcome in outcomes) == 1
    assert len(outcomes) == 8


def test_each_request_of_a_job_adds_the_reference_that_its_message_carries(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(new_job(clock, claim_checks=("one",)))
    assert ledger.disown(new_job(clock, claim_checks=("two",)))
    assert ledger.disown(new_job(clock))  # the payload is small now: nothing to add
    found = ledger.get(JOB)
    assert found is not None
    assert found.claim_checks == ("one", "two")
    other = numbered(2)
    ledger.accept(new_job(clock, other))
    assert ledger.abandon(other, acceptance="a")
    assert ledger.reaccept(new_job(clock, other, claim_checks=("three",)))
    again = ledger.get(other)
    assert again is not None
    assert again.claim_checks == ("three",)


def test_a_request_is_repeated_with_a_large_payload_so_often_and_no_more(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(new_job(clock, claim_checks=("first",)))
    for number in range(CLAIM_CHECKS_MAX - 1):
        assert ledger.disown(new_job(clock, claim_checks=(f"r{number}",)))
    assert not ledger.disown(new_job(clock, claim_checks=("one too many",)))
    found = ledger.get(JOB)
    assert found is not None
    assert len(found.claim_checks or ()) == CLAIM_CHECKS_MAX


def test_only_the_acceptance_that_nobody_repeated_may_be_abandoned(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(new_job(clock, acceptance="a"))
    assert not ledger.abandon(JOB, acceptance="other")
    assert ledger.disown(new_job(clock))  # a repeat is about to send
    assert not ledger.abandon(JOB, acceptance="a")
    entry = ledger.get(JOB)
    assert entry is not None
    assert entry.state is JobState.ACCEPTED
    assert isinstance(ledger.claim(JOB, token="t1", lease=30), Claimed)


def test_an_abandoned_job_is_watched_again_once_accepted_again(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(new_job(clock))
    ledger.abandon(JOB, acceptance="a")
    assert watched(ledger, "open#default") == []
    ledger.reaccept(new_job(clock))
    assert watched(ledger, "open#default") == [JOB]


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_asked(
    ledger: Ledger, clock: Clock
) -> None:
    assert ledger.cancel(JOB) is None
    ledger.accept(new_job(clock))
    entry = ledger.cancel(JOB)
    assert entry is not None
    assert (entry.state, entry.finished, entry.watch) == (JobState.CANCELLED, clock.now, None)
    assert ledger.cancel(JOB) == entry
    assert isinstance(ledger.claim(JOB, token="t", lease=30), Refused)
    other = numbered(1)
    ledger.accept(new_job(clock, other))
    ledger.claim(other, token="t", lease=30)
    entry = ledger.cancel(other)
    assert entry is not None
    assert (entry.state, entry.cancel_asked) == (JobState.RUNNING, clock.now)
    ledger.stop(other, token="t")
    ledger.stop(other, token="t")
    stopped = ledger.get(other)
    assert stopped is not None
    assert (stopped.state, stopped.watch) == (JobState.CANCELLED, None)
