"""What an attempt came to is recorded, whatever the ledger answers at first."""

from __future__ import annotations

import time
from typing import Any

import pytest
from botocore.exceptions import ClientError
from support.job_bench import Bench, Number

from sealwax.job import Cancelled, Job, LeaseLost
from sealwax.ledger import JobState, LedgerDenied, LedgerUnreachable
from sealwax.outcomes import Ack, DeadLetter, Rejected, Retry, Transient
from sealwax.worker import recording
from sealwax.worker.settlement import GivenUp


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "LONGEST_WAIT", 0.01)


def failing(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, times: int, **how: Any):
    """Let an operation of the ledger fail so often; `after`: once it has been done."""
    genuine = getattr(bench.worker.ledger, name)
    calls: list[int] = []

    def call(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) > times:
            return genuine(*args, **options)
        if how.get("after"):
            genuine(*args, **options)
        raise how.get("error") or LedgerUnreachable

    monkeypatch.setattr(bench.worker.ledger, name, call)
    return calls


def rejects(payload: Number, job: Job) -> None:
    raise Rejected("bad")


def fails(payload: Number, job: Job) -> None:
    raise Transient("downstream-503")


def cancelled(payload: Number, job: Job) -> None:
    raise Cancelled


@pytest.mark.parametrize("after", [False, True], ids=["not-done", "answer-lost"])
@pytest.mark.parametrize(
    ("does", "name", "outcome", "state"),
    [
        (None, "succeed", Ack, JobState.SUCCEEDED),
        (fails, "retry", Retry, JobState.RETRYING),
        (rejects, "die", DeadLetter, JobState.DEAD),
        (cancelled, "stop", Ack, JobState.CANCELLED),
    ],
    ids=["success", "retry", "death", "stop"],
)
def test_a_failed_record_is_not_a_failed_attempt(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    does: Any,
    name: str,
    outcome: type,
    state: JobState,
    *,
    after: bool,
) -> None:
    runs: list[int] = []

    def work(payload: Number, job: Job) -> Any:
        runs.append(1)
        return does(payload, job) if does else {"n": 1}

    bench.does[0] = work
    calls = failing(bench, monkeypatch, name, 6, after=after)
    job_id = bench.submit()
    found = bench.run(job_id)
    assert isinstance(found, outcome)
    assert not isinstance(found, GivenUp)
    assert bench.entry(job_id).state is state
    assert (len(runs), len(calls)) == (1, 7)
    assert bench.worker.ledger_failures() >= 6


def test_an_outcome_is_recorded_again_for_so_many_seconds(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sealwax.worker.attempt import Attempt

    limits = bench.settings.limits.model_copy(update={"record_seconds": 0.3})
    settings = bench.settings.model_copy(update={"limits": limits})
    monkeypatch.setattr(bench.worker, "settings", settings)
    calls = failing(bench, monkeypatch, "succeed", 10_000)
    job_id = bench.submit()
    began = time.monotonic()
    # A lease of a moment: the setting is the longer of the two.
    attempt = Attempt(bench.worker, bench.definition, bench.deliver(job_id), lease=0.1)
    assert isinstance(attempt.run(), GivenUp)
    assert time.monotonic() - began >= 0.25
    assert len(calls) > 3
    assert bench.entry(job_id).state is JobState.RUNNING


def test_a_given_up_attempt_may_be_released_and_leaves_no_suspicion(bench: Bench) -> None:
    def lost(payload: Number, job: Job) -> None:
        raise LeaseLost

    bench.does[0] = lost
    job_id = bench.submit()
    delivery = bench.deliver(job_id)
    assert isinstance(bench.run(job_id, token=delivery.token), GivenUp)
    bench.worker.ledger.release(job_id, token=delivery.token)
    bench.does[0] = lambda payload, job: None
    assert bench.run(job_id) == Ack()
    entry = bench.entry(job_id)
    assert (entry.attempts, entry.suspicions, entry.crashes) == (1, 0, 0)


def test_a_claim_whose_answer_was_lost_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(bench, monkeypatch, "claim", 1, after=True)
    assert isinstance(bench.run(bench.submit()), GivenUp)


def refusal() -> LedgerDenied:
    error = LedgerDenied()
    error.__cause__ = ClientError(
        {"Error": {"Code": "ValidationException"}, "ResponseMetadata": {"HTTPStatusCode": 400}},  # type: ignore[typeddict-item]
        "UpdateItem",
    )
    return error


def test_a_result_that_the_ledger_refuses_costs_no_success(bench: Bench) -> None:
    limits = bench.settings.limits.model_copy(update={"result_bytes": 500_000})
    bench.worker.settings = bench.settings.model_copy(update={"limits": limits})
    # More than the 400 KB that an item may have.
    bench.does[0] = lambda payload, job: {"text": "x" * 450_000}
    job_id = bench.submit()
    assert bench.run(job_id) == Ack()
    entry = bench.entry(job_id)
    assert (entry.state, entry.result) == (JobState.SUCCEEDED, None)
    assert entry.result_omitted == "refused"


def test_the_largest_result_that_may_be_set_is_kept(bench: Bench) -> None:
    (most,) = (
        bound.le
        for bound in type(bench.settings.limits).model_fields["result_bytes"].metadata
        if hasattr(bound, "le")
    )
    limits = bench.settings.limits.model_copy(update={"result_bytes": most})
    bench.worker.settings = bench.settings.model_copy(update={"limits": limits})
    bench.does[0] = lambda payload, job: {"text": "x" * (most - len('{"text":""}'))}
    job_id = bench.submit()
    assert bench.run(job_id) == Ack()
    entry = bench.entry(job_id)
    assert entry.state is JobState.SUCCEEDED
    assert entry.result
    assert len(entry.result) > most


def test_a_success_that_is_refused_for_good_ends_where_a_person_sees_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = failing(bench, monkeypatch, "succeed", 10_000, error=refusal())
    job_id = bench.submit()
    letter = bench.run(job_id)
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.cause) == ("rejected", "success-refused")
    assert len(calls) == 2  # with the result, and without
    entry = bench.entry(job_id)
    assert (entry.state, entry.crashes) == (JobState.DEAD, 0)
