"""References to payloads in S3: the ledger says which are a job's, and no message does."""

from __future__ import annotations

from dataclasses import replace

from support.job_bench import Bench

from sealwax.envelope import Expected, Purpose, verify_envelope
from sealwax.ledger import JobState
from sealwax.outcomes import Ack, DeadLetter, Reason, Rejected, Retry
from sealwax.worker.provenance import Own, Stray, born_by, disagreement


def test_each_request_of_a_job_may_be_the_one_that_arrives(bench: Bench) -> None:
    job_id = bench.submit(large=True, idempotency_key="k")
    first = bench.sent[-1][1]
    assert bench.submit(large=True, idempotency_key="k") == job_id
    assert bench.sent[-1][1] != first
    assert bench.entry(job_id).claim_checks == (first, bench.sent[-1][1])
    assert bench.run(job_id, envelope=first) == Ack()
    assert bench.entry(job_id).state is JobState.SUCCEEDED
    assert bench.worker.payloads.objects(job_id) == []


def test_a_genuine_envelope_under_a_reference_of_a_strangers_is_a_stray(bench: Bench) -> None:
    job_id, payloads = bench.submit(), bench.worker.payloads
    reference = payloads.put(job_id, bench.sent[-1][1])
    outcome = bench.run(job_id, envelope=reference)
    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, outcome.cause) == (Reason.STRAY, "reference")
    entry = bench.entry(job_id)
    assert (entry.state, entry.attempts, entry.fence) == (JobState.ACCEPTED, 0, 0)
    assert len(payloads.objects(job_id)) == 1
    # Its own message runs, and what a stranger put there is not the job's to delete.
    assert bench.run(job_id, envelope=bench.sent[-1][1]) == Ack()
    assert len(payloads.objects(job_id)) == 1


def test_a_strangers_reference_moves_no_payload_as_the_job_dies(bench: Bench) -> None:
    job_id, payloads = bench.submit(large=True), bench.worker.payloads
    own = bench.sent[-1][1]
    strange = payloads.put(job_id, "a stranger's")

    def refuse(*_: object) -> None:
        raise Rejected("never")

    bench.does[0] = refuse
    outcome = bench.run(job_id, envelope=strange)
    assert isinstance(outcome, DeadLetter)
    assert outcome.reason is Reason.STRAY
    assert {key.partition("/")[0] for key in payloads.objects(job_id)} == {"live"}
    outcome = bench.run(job_id, envelope=own)
    assert isinstance(outcome, DeadLetter)
    assert outcome.reason is Reason.REJECTED
    prefixes = sorted(key.partition("/")[0] for key in payloads.objects(job_id))
    assert prefixes == ["dead", "live"]
    assert payloads.fetch(job_id, own)


def test_a_job_whose_payload_is_gone_dies_verified(bench: Bench) -> None:
    job_id = bench.submit(large=True)
    bench.worker.payloads.erase(job_id)
    outcome = bench.run(job_id)
    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, outcome.cause) == (Reason.UNOPENABLE, "claim-missing")
    assert bench.entry(job_id).state is JobState.DEAD


def test_a_missing_payload_that_nobody_recorded_kills_nobody(bench: Bench) -> None:
    job_id, other = bench.submit(), bench.submit(large=True)
    outcome = bench.run(job_id, envelope=bench.sent[-1][1])
    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, outcome.cause) == (Reason.STRAY, "claim-missing")
    for each in (job_id, other):
        assert bench.entry(each).state is JobState.ACCEPTED


def test_the_message_of_a_job_before_that_had_the_same_id_does_not_run(bench: Bench) -> None:
    # The first job was forgotten, and its idempotency key is used again.
    job_id = bench.submit(1, idempotency_key="k")
    recorded = bench.sent[-1][1]
    kept = bench.settings.limits.retention_seconds
    assert bench.run(job_id) == Ack()
    settings = bench.settings
    client = bench.worker.aws.client("dynamodb")
    client.delete_item(TableName=settings.table_name("jobs"), Key={"id": {"S": job_id}})
    bench.clock.now += kept + 2
    assert bench.submit(2, idempotency_key="k") == job_id
    ran: list[int] = []
    bench.does[0] = lambda payload, _: ran.append(payload.n)
    outcome = bench.run(job_id, envelope=recorded)
    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, outcome.cause) == (Reason.STRAY, "earlier-job")
    assert bench.run(job_id) == Ack()
    assert ran == [2]


def test_clocks_may_differ_by_as_long_as_a_job_is_remembered(bench: Bench) -> None:
    job_id = bench.submit()
    own = _own(bench, job_id)
    entry = bench.entry(job_id)
    latest = born_by(own.context, bench.worker)
    assert (
        disagreement(replace(entry, created=latest), own, queue=None, runtime=bench.worker) is None
    )
    late = disagreement(replace(entry, created=latest + 1), own, queue=None, runtime=bench.worker)
    assert isinstance(late, Stray)
    assert late.cause == "earlier-job"


def test_the_message_of_an_erased_job_is_acknowledged(bench: Bench) -> None:
    job_id = bench.submit()
    bench.worker.ledger.erase(job_id)
    assert bench.run(job_id) == Ack()


def test_what_an_older_version_accepted_still_runs(bench: Bench) -> None:
    job_id = bench.submit(large=True)
    bench.worker.aws.client("dynamodb").update_item(
        TableName=bench.settings.table_name("jobs"),
        Key={"id": {"S": job_id}},
        UpdateExpression="REMOVE claim_checks",
    )
    assert bench.entry(job_id).claim_checks is None

    def fail(*_: object) -> None:
        raise RuntimeError

    bench.does[0] = fail
    assert isinstance(bench.run(job_id), Retry)
    bench.clock.now += 3_600
    bench.does[0] = lambda *_: None
    assert bench.run(job_id) == Ack()
    assert bench.worker.payloads.objects(job_id) == []


def _own(bench: Bench, job_id: str) -> Own:
    text = bench.sent[-1][1]
    expect = Expected(purpose=Purpose.JOB, task="test.number", job=job_id)
    context = verify_envelope(text, keyring=bench.worker.keyring, expect=expect).context
    return Own(context=context, generation=0, argument=text)
