"""Attempts that end without a word, and those that a time limit meets outside the task."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from support.job_bench import Bench, Number

from sealwax.job import Job
from sealwax.ledger import JobState
from sealwax.outcomes import Ack, DeadLetter, Retry, Transient
from sealwax.worker.attempt import Attempt
from sealwax.worker.isolation import JobIsolation


def lose(bench: Bench, job_id: str, **options: Any) -> None:
    """Begin an attempt whose whole worker is lost."""
    bench.worker.ledger.claim(job_id, token=f"lost{bench.clock.now}", lease=30, **options)
    bench.clock.now += 31
    assert bench.worker.ledger.suspect(bench.entry(job_id)) is not None


def test_a_lost_worker_is_a_suspicion_and_costs_no_attempt(bench: Bench) -> None:
    job_id = bench.submit()
    bench.worker.ledger.claim(job_id, token="lost", lease=30)
    assert isinstance(bench.run(job_id), Retry)
    bench.clock.now += 31
    assert bench.run(job_id) == Ack()
    entry = bench.entry(job_id)
    assert (entry.state, entry.attempts, entry.suspicions, entry.crashes) == (
        JobState.SUCCEEDED, 1, 1, 0,
    )  # fmt: skip


def test_after_two_suspicions_the_job_runs_alone(bench: Bench, tmp_path: Path) -> None:
    isolation = JobIsolation(tmp_path)
    seen: list[bool] = []

    def work(payload: Number, job: Job):
        with isolation.shared(wait=0) as here:
            seen.append(here)

    bench.does[0] = work
    job_id = bench.submit()
    lose(bench, job_id)
    lose(bench, job_id)
    attempt = Attempt(
        bench.worker, bench.definition, bench.deliver(job_id), lease=30, isolation=isolation
    )
    assert attempt.run() == Ack()
    assert seen == [False]
    assert bench.entry(job_id).suspicions == 2


def test_a_job_that_must_run_alone_waits_outside_a_full_room(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolation = JobIsolation(tmp_path)
    monkeypatch.setattr(isolation, "exclusive", partial(isolation.exclusive, wait=0.1))
    job_id = bench.submit()
    lose(bench, job_id)
    lose(bench, job_id)
    attempt = Attempt(
        bench.worker, bench.definition, bench.deliver(job_id), lease=30, isolation=isolation
    )
    with isolation.shared(wait=0):
        assert isinstance(attempt.run(), Retry)
    entry = bench.entry(job_id)
    assert (entry.state, entry.attempts) == (JobState.RETRYING, 0)


def test_where_others_never_end_it_runs_beside_them_after_a_while(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolation = JobIsolation(tmp_path)
    monkeypatch.setattr(isolation, "exclusive", partial(isolation.exclusive, wait=0.1))
    job_id = bench.submit()
    lose(bench, job_id)
    lose(bench, job_id)

    def attempt() -> Any:
        return Attempt(
            bench.worker, bench.definition, bench.deliver(job_id), lease=30, isolation=isolation
        ).run()

    alone: list[bool] = []
    bench.does[0] = lambda payload, job: alone.append(bench.entry(job_id).alone)
    with isolation.shared(wait=0):
        bench.clock.now += 599
        assert isinstance(attempt(), Retry)
        bench.clock.now += 2
        assert attempt() == Ack()
    assert alone == [False]


def test_neighbours_that_come_in_are_recorded_first(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolation = JobIsolation(tmp_path)
    monkeypatch.setattr(isolation, "exclusive", partial(isolation.exclusive, most=0.1))
    seen: list[bool] = []

    def work(payload: Number, job: Job):
        seen.append(bench.entry(job_id).alone)
        with isolation.shared(wait=60) as here:
            seen.extend([here, bench.entry(job_id).alone])

    bench.does[0] = work
    job_id = bench.submit()
    lose(bench, job_id)
    lose(bench, job_id)
    attempt = Attempt(
        bench.worker, bench.definition, bench.deliver(job_id), lease=30, isolation=isolation
    )
    assert attempt.run() == Ack()
    assert seen == [True, True, False]


def test_jobs_make_way_for_one_that_runs_alone_and_pay_nothing(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealwax.worker.claiming._SHARED_WAIT", 0.1)
    isolation = JobIsolation(tmp_path)
    job_id = bench.submit()
    attempt = Attempt(
        bench.worker, bench.definition, bench.deliver(job_id), lease=30, isolation=isolation
    )
    with isolation.exclusive(wait=0):
        assert isinstance(attempt.run(), Retry)
    entry = bench.entry(job_id)
    assert (entry.state, entry.attempts) == (JobState.ACCEPTED, 0)


def test_lone_losses_end_as_crashed(bench: Bench) -> None:
    job_id = bench.submit()
    for _ in range(2):
        lose(bench, job_id)
    for _ in range(bench.settings.limits.crashes):
        lose(bench, job_id, alone=True)
    ran: list[int] = []
    bench.does[0] = lambda payload, _: ran.append(payload.n)
    letter = bench.run(job_id)
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, ran) == ("crashed", [])
    entry = bench.entry(job_id)
    assert (entry.state, entry.reason, entry.crashes) == (JobState.DEAD, "crashed", 3)


def interrupting(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let a soft time limit meet the first call of one of the ledger's operations."""
    genuine = getattr(bench.worker.ledger, name)
    calls: list[str] = []

    def call(*args: Any, **options: Any) -> Any:
        calls.append(name)
        if len(calls) == 1:
            raise SoftTimeLimitExceeded
        return genuine(*args, **options)

    monkeypatch.setattr(bench.worker.ledger, name, call)


def test_a_time_limit_while_success_is_recorded_loses_no_success(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    bench.does[0] = lambda payload, _: ran.append(payload.n)
    interrupting(bench, monkeypatch, "succeed")
    job_id = bench.submit()
    assert bench.run(job_id) == Ack()
    assert bench.entry(job_id).state is JobState.SUCCEEDED
    assert ran == [1]


def test_a_time_limit_before_the_claim_changes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupting(bench, monkeypatch, "claim")
    job_id = bench.submit()
    assert isinstance(bench.run(job_id), Retry)
    assert bench.entry(job_id).state is JobState.ACCEPTED
    assert bench.run(job_id) == Ack()


def test_a_time_limit_while_a_failure_is_recorded_leaves_a_retry(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(payload: Number, job: Job):
        raise Transient("downstream-503")

    bench.does[0] = fails
    interrupting(bench, monkeypatch, "retry")
    job_id = bench.submit()
    assert isinstance(bench.run(job_id), Retry)
    assert bench.entry(job_id).state is JobState.RETRYING
