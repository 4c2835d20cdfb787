"""Whose a message is, judged by its own bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.job_bench import Bench

from sealwax.ledger import MAX_GENERATION, read_generation
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
