"""Messages that end their child before their job is claimed, so that no claim counts it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from support.job_bench import Bench
from support.waiting import wait_for
from support.worker_lab import WorkerLab

from sealwax.ledger import JobState
from sealwax.outcomes import Ack, DeadLetter, Outcome, Retry
from sealwax.worker.app import make_app
from sealwax.worker.task import SealedTask


def body_of(job_id: str, envelope: str) -> str:
    """Return the body of a job's message as it stands in the queue."""
    return json.dumps(
        {
            "body": json.dumps([[envelope], {}, {"callbacks": None}]),
            "headers": {"task": "test.number", "id": job_id},
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "properties": {},
        }
    )


@pytest.fixture
def lost(bench: Bench):
    """Return a function that tells the task that a child died with a message in hand."""
    app = make_app(bench.settings, {"test.number": bench.definition}, bench.worker, lane="default")
    task = app.tasks["test.number"]
    assert isinstance(task, SealedTask)

    def lose(job_id: str, message: str, *, token: str = "other", envelope: str = "") -> Outcome:
        metadata = {"message_id": message, "token": token}
        body = body_of(job_id, envelope or bench.deliver(job_id).envelope)
        request = SimpleNamespace(
            id=job_id, delivery_info={"sqs": metadata}, delivery=SimpleNamespace(body=body)
        )
        return task.on_attempt_lost(request, "crashed")

    return lose


def test_a_message_that_ends_its_child_before_the_claim_is_dead_after_as_many_deaths_as_any(
    bench: Bench, lost
) -> None:
    job_id = bench.submit()
    assert [type(lost(job_id, "m1")) for _ in range(2)] == [Retry, Retry]
    end = lost(job_id, "m1")
    assert isinstance(end, DeadLetter)
    assert (end.reason, end.cause) == ("crashed", "died-before-claim")
    entry = bench.entry(job_id)
    assert (entry.state, entry.reason, entry.attempts) == (JobState.DEAD, "crashed", 0)


def test_another_message_with_the_jobs_id_ends_not_the_job(bench: Bench, lost) -> None:
    """Somebody who can write to the queue bears a genuine job's id."""
    job_id = bench.submit()
    before = bench.entry(job_id)
    end = lost(job_id, "forged", envelope="FORGED")
    assert isinstance(end, DeadLetter)
    assert (end.reason, end.cause, end.job) == ("stray", "envelope-malformed", job_id)
    assert bench.entry(job_id) == before
    assert bench.run(job_id) == Ack()
    assert bench.entry(job_id).state is JobState.SUCCEEDED
    # A copy that ends its child now has nothing to end: the ledger says so.
    assert [type(lost(job_id, "copy")) for _ in range(4)] == [Retry] * 4


def test_deaths_of_several_messages_or_of_one_that_was_claimed_are_not_summed(
    bench: Bench, lost
) -> None:
    job_id = bench.submit()
    assert [type(lost(job_id, f"m{n}")) for n in range(6)] == [Retry] * 6
    bench.worker.ledger.claim(job_id, token="runs", lease=30)
    # It runs elsewhere: what died was a copy that came too late.
    assert [type(lost(job_id, "m1")) for _ in range(6)] == [Retry] * 6
    assert bench.entry(job_id).crashes == 0


@pytest.mark.long
def test_a_real_child_that_dies_so_ends_in_the_dead_letter_queue(
    lab: WorkerLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOST_TEST_EARLY", "lost.well")
    lab.start()
    poison, healthy = lab.submit("lost.well"), lab.submit("lost.long", seconds=0.1)
    entry = lab.wait(poison)
    assert (entry.state, entry.reason, entry.cause) == (
        JobState.DEAD,
        "crashed",
        "died-before-claim",
    )
    assert entry.attempts == 0
    assert lab.wait(healthy).state is JobState.SUCCEEDED
    wait_for(lambda: lab.letters() == 1, seconds=60, what="its dead letter")
