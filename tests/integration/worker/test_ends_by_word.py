"""Jobs that end because somebody says so: cancelled, expired; and those that wait for a time."""

from __future__ import annotations

import pytest
from support.job_bench import Bench, Number

from sealwax.job import Job
from sealwax.ledger import JobState
from sealwax.outcomes import Ack, Retry, Transient
from sealwax.worker import job_context


def test_the_message_of_a_cancelled_job_is_acknowledged_without_running(bench: Bench) -> None:
    ran: list[int] = []
    bench.does[0] = lambda payload, _: ran.append(payload.n)
    job_id = bench.submit()
    bench.api.ledger.cancel(job_id)
    assert bench.run(job_id) == Ack()
    assert ran == []
    assert bench.entry(job_id).state is JobState.CANCELLED


def test_a_running_job_is_stopped_by_its_check_and_recorded_as_cancelled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_context, "_CHECK_SECONDS", 0.0)
    after: list[str] = []

    def work(payload: Number, job: Job):
        job.check()
        bench.api.ledger.cancel(job.id)
        job.check()
        after.append("went on")

    bench.does[0] = work
    job_id = bench.submit()
    assert bench.run(job_id) == Ack()
    assert after == []
    assert bench.entry(job_id).state is JobState.CANCELLED


def test_a_cancelled_job_that_fails_is_not_tried_again(bench: Bench) -> None:
    def work(payload: Number, job: Job):
        bench.api.ledger.cancel(job.id)
        raise Transient("downstream-503")

    bench.does[0] = work
    job_id = bench.submit()
    assert bench.run(job_id) == Ack()
    assert bench.entry(job_id).state is JobState.CANCELLED


def test_a_job_whose_worker_died_after_the_cancel_is_cancelled_with_its_next_message(
    bench: Bench,
) -> None:
    job_id = bench.submit()
    bench.worker.ledger.claim(job_id, token="lost", lease=30)
    bench.api.ledger.cancel(job_id)
    assert isinstance(bench.run(job_id), Retry)
    bench.clock.now += 31
    assert bench.run(job_id) == Ack()
    assert bench.entry(job_id).state is JobState.CANCELLED


def test_a_check_raises_once_another_attempt_holds_the_job(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_context, "_CHECK_SECONDS", 0.0)
    after: list[str] = []

    def work(payload: Number, job: Job):
        bench.clock.now += 31
        ledger = bench.worker.ledger
        assert ledger.suspect(bench.entry(job.id)) is not None
        ledger.claim(job.id, token="other", lease=30)
        job.check()
        after.append("went on")

    bench.does[0] = work
    job_id = bench.submit()
    assert isinstance(bench.run(job_id), Retry)
    assert after == []
    assert bench.entry(job_id).token == "other"


def test_checks_of_the_first_moments_read_nothing(bench: Bench) -> None:
    def work(payload: Number, job: Job):
        for _ in range(100):
            job.check()

    bench.does[0] = work
    job_id = bench.submit()
    before = bench.worker.aws.calls["dynamodb.GetItem"]
    assert bench.run(job_id) == Ack()
    assert bench.worker.aws.calls["dynamodb.GetItem"] == before


def test_a_job_past_its_expiry_is_recorded_and_never_runs(bench: Bench) -> None:
    ran: list[int] = []
    bench.does[0] = lambda payload, _: ran.append(payload.n)
    job_id = bench.submit(expires_in=60)
    bench.clock.now += 60
    assert bench.run(job_id) == Ack()
    entry = bench.entry(job_id)
    assert (entry.state, entry.attempts, ran) == (JobState.EXPIRED, 0, [])


def test_a_retry_past_the_expiry_does_not_start(bench: Bench) -> None:
    def fails(payload: Number, job: Job):
        raise Transient("downstream-503")

    bench.does[0] = fails
    job_id = bench.submit(expires_in=60)
    assert isinstance(bench.run(job_id), Retry)
    bench.clock.now += 61
    assert bench.run(job_id) == Ack()
    assert bench.entry(job_id).state is JobState.EXPIRED


def test_a_job_starts_no_earlier_than_its_delay_and_waiting_is_not_charged(bench: Bench) -> None:
    job_id = bench.submit(delay=600)
    assert bench.run(job_id) == Retry(pytest.approx(600, abs=1))
    bench.clock.now += 599
    assert bench.run(job_id) == Ack()
    entry = bench.entry(job_id)
    assert (entry.state, entry.attempts) == (JobState.SUCCEEDED, 1)


def test_a_copy_of_a_message_that_waits_for_its_retry_burns_no_attempt(bench: Bench) -> None:
    def fails(payload: Number, job: Job):
        raise Transient("downstream-503", retry_after=100)

    bench.does[0] = fails
    job_id = bench.submit()
    assert bench.run(job_id) == Retry(100)
    for _ in range(10):
        bench.clock.now += 5
        assert isinstance(bench.run(job_id), Retry)
    assert bench.entry(job_id).attempts == 1


def test_a_repeat_changes_neither_delay_nor_expiry(bench: Bench) -> None:
    first = bench.submit(idempotency_key="k", delay=60, expires_in=600)
    before = bench.entry(first)
    bench.clock.now += 1
    assert bench.submit(idempotency_key="k") == first
    after = bench.entry(first)
    assert (after.not_before, after.run_before) == (before.not_before, before.run_before)
