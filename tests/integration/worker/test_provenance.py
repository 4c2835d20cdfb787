"""Whose a message is, judged by its own bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from support.job_bench import Bench

from sealwax.keys import provenance as rule
from sealwax.ledger import MAX_GENERATION, read_generation
from sealwax.outcomes import Ack, DeadLetter
from sealwax.settings import Lane
from sealwax.worker.provenance import Own, Stray, judge


def body_of(job_id: str, args: list[Any], **changes: Any) -> str:
    embed, kwargs = changes.pop("embed", {"callbacks": None}), changes.pop("kwargs", {})
    return json.dumps(
        {
            "body": json.dumps([args, kwargs, embed]),
            "headers": {"task": "test.number", "id": job_id} | changes,
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "properties": {},
        }
    )


def test_the_jobs_own_message_is_believed_as_far_as_its_signature_goes(bench: Bench) -> None:
    job_id = bench.submit()
    envelope = bench.deliver(job_id).envelope
    found = judge(bench.worker, body_of(job_id, [envelope], generation=3))
    assert isinstance(found, Own)
    assert (found.context.job, found.context.task) == (job_id, "test.number")
    assert (found.generation, found.argument) == (3, envelope)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"kwargs": {"self": 1}}, "not-sealed"),
        ({"embed": {"callbacks": [{"task": "test.number"}]}}, "not-sealed"),
        ({"generation": MAX_GENERATION + 1}, "generation"),
        ({"generation": True}, "generation"),
        ({"retries": "many"}, "retries"),
        ({"task": "test.other"}, "context-mismatch"),
    ],
)
def test_a_genuine_envelope_in_a_strangers_message_is_a_stray(
    bench: Bench, changes: dict[str, Any], cause: str
) -> None:
    job_id = bench.submit()
    envelope = bench.deliver(job_id).envelope
    found = judge(bench.worker, body_of(job_id, [envelope], **changes))
    assert isinstance(found, Stray)
    assert (found.cause, found.job) == (cause, job_id)
    letter = found.letter()
    assert (letter.reason, letter.reason.verified) == ("stray", False)


@pytest.mark.parametrize("args", [[], ["FORGED"], ["FORGED", "x"], [1]])
def test_what_nobody_has_signed_is_a_stray(bench: Bench, args: list[Any]) -> None:
    assert isinstance(judge(bench.worker, body_of(bench.submit(), args)), Stray)


def test_another_jobs_envelope_is_a_stray(bench: Bench) -> None:
    mine, other = bench.submit(), bench.submit()
    found = judge(bench.worker, body_of(mine, [bench.deliver(other).envelope]))
    assert isinstance(found, Stray)
    assert found.cause == "context-mismatch"


@pytest.mark.parametrize("body", ["", "no message", "[]", "{}", json.dumps({"headers": {}})])
def test_what_is_no_message_names_no_job(bench: Bench, body: str) -> None:
    found = judge(bench.worker, body)
    assert isinstance(found, Stray)
    assert found.job is None


def test_generations_are_read_within_bounds() -> None:
    assert [read_generation(value) for value in (None, 0, MAX_GENERATION)] == [0, 0, MAX_GENERATION]
    assert {read_generation(value) for value in (-1, MAX_GENERATION + 1, "1", 1.0, False)} == {None}


def test_by_the_ledgers_record_no_payload_is_fetched(bench: Bench) -> None:
    job_id = bench.submit(large=True)
    reference = bench.deliver(job_id).envelope
    own = body_of(job_id, [reference])
    strange = body_of(job_id, [reference[:-1] + "0"])
    fetched: list[str] = []

    def fetch(job: str, reference: str) -> str:
        fetched.append(reference)
        return bench.worker.payloads.fetch(job, reference)

    evidence = replace(bench.worker.evidence, fetch=fetch)
    assert isinstance(rule.judge(rule.by_record(evidence), own), Own)
    assert isinstance(rule.judge(rule.by_record(evidence), strange), Stray)
    assert fetched == []
    # Of a job that an older release accepted, S3 alone can tell.
    older = replace(bench.entry(job_id), claim_checks=None)
    evidence = replace(evidence, entry=lambda _: older)
    assert isinstance(rule.judge(rule.by_record(evidence), own), Own)
    assert fetched == [reference]


@pytest.mark.parametrize("how", ["own", "forged", "another", "lane", "tenant"])
def test_a_kept_body_is_an_entrys_own_or_it_is_not(bench: Bench, how: str) -> None:
    job_id, other = bench.submit(), bench.submit()
    envelope = bench.deliver(other if how == "another" else job_id).envelope
    body = body_of(job_id, ["FORGED" if how == "forged" else envelope])
    entry = bench.entry(job_id)
    entry = replace(entry, **{how: "another"}) if how in ("lane", "tenant") else entry
    queue = bench.settings.queue_name("default")
    found = rule.is_own(
        bench.worker.evidence, body.encode(), entry, queue=queue, settings=bench.settings
    )
    assert found is (how == "own")


def test_a_genuine_message_in_another_lanes_queue_is_a_stray(bench: Bench) -> None:
    """Limits, keys and pauses are a lane's: nobody moves a job to another one."""
    lanes = bench.settings.lanes | {"other": Lane.model_validate({})}
    bench.worker.settings = bench.settings.model_copy(update={"lanes": lanes})
    job_id = bench.submit()
    before = bench.entry(job_id)
    outcome = bench.run(job_id, queue=bench.worker.settings.queue_name("other"))
    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, outcome.cause) == ("stray", "wrong-lane")
    assert bench.entry(job_id) == before
    assert bench.run(job_id, queue=bench.worker.settings.queue_name("default")) == Ack()
