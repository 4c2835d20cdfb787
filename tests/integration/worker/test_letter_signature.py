"""What a worker signs of the messages that it dead-letters: own ones, and everything else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from support.job_bench import Bench

from sealwax.deadletters.signature import SignedLetter, check_letter
from sealwax.outcomes import DeadLetter, Reason, Rejected
from sealwax.transport.dead_letters import DeadLetterEvent, attribute_members
from sealwax.worker.letter_signature import signed_members


def body_of(job_id: str, envelope: str, **headers: Any) -> str:
    return json.dumps(
        {
            "body": json.dumps([[envelope], {}, {}]),
            "headers": {"task": "test.number", "id": job_id} | headers,
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "properties": {},
        }
    )


def signed(
    bench: Bench, body: str, letter: DeadLetter, *, queue: str | None = None
) -> SignedLetter:
    queue = queue or bench.settings.queue_name("default")
    event = DeadLetterEvent(
        letter=letter, job=letter.job, task="test.number", queue=queue, message_id="m",
        receive_count=1, body=body, body_bytes=len(body),
    )  # fmt: skip
    members = attribute_members(letter, queue=queue, at=1_750_000_000.5, task="test.number")
    said = json.dumps(signed_members(bench.worker, event, members))
    return check_letter(
        said, body=body.encode(), queue=queue, lane="default",
        verifier=bench.api.public_keyring,
    )  # fmt: skip


def died(bench: Bench, **changes: Any) -> tuple[str, DeadLetter]:
    def reject(*_: Any) -> None:
        raise Rejected("http-400")

    bench.does[0] = reject
    job_id = bench.submit()
    letter = bench.run(job_id, **changes)
    assert isinstance(letter, DeadLetter)
    return job_id, letter


def test_a_dead_jobs_own_message_is_signed_in_the_ledgers_generation(bench: Bench) -> None:
    job_id, letter = died(bench)
    envelope = bench.deliver(job_id).envelope
    found = signed(bench, body_of(job_id, envelope), letter)
    assert (found.own, found.generation, found.job) == (True, 0, job_id)
    assert (found.reason, found.cause, found.attempts) == ("rejected", "http-400", 1)
    assert bench.worker.ledger.replay(job_id, generation=0) is not None
    assert bench.run(job_id, generation=1) == replace(letter, attempts=1)
    again = signed(bench, body_of(job_id, envelope, generation=1), letter)
    assert (again.own, again.generation) == (True, 1)
    # The header alone makes no generation.
    assert not signed(bench, body_of(job_id, envelope), letter).own
    assert not signed(bench, body_of(job_id, envelope, generation=2), letter).own


def test_a_childs_word_makes_no_stray_the_jobs_own(bench: Bench) -> None:
    job_id, letter = died(bench)
    other = bench.deliver(bench.submit()).envelope
    assert not signed(bench, body_of(job_id, "FORGED"), letter).own
    assert not signed(bench, body_of(job_id, other), letter).own
    assert not signed(bench, "no message", letter).own


def test_a_job_that_is_not_dead_has_no_letter_of_its_own(bench: Bench) -> None:
    job_id = bench.submit()
    body = body_of(job_id, bench.deliver(job_id).envelope)
    letter = DeadLetter(reason=Reason.REJECTED, cause="x", job=job_id, attempts=1)
    assert not signed(bench, body, letter).own


def test_another_queues_copy_is_not_the_jobs_own(bench: Bench) -> None:
    job_id, letter = died(bench)
    body = body_of(job_id, bench.deliver(job_id).envelope)
    bench.settings.lanes["slow"] = bench.settings.lanes["default"]
    try:
        queue = bench.settings.queue_name("slow")
        assert not signed(bench, body, letter, queue=queue).own
    finally:
        del bench.settings.lanes["slow"]


@pytest.mark.parametrize("reason", [Reason.STRAY, Reason.MALFORMED, Reason.UNKNOWN_JOB])
def test_what_is_nobodys_stays_so(bench: Bench, reason: Reason) -> None:
    job_id, _ = died(bench)
    letter = DeadLetter(reason=reason, cause="why", job=job_id)
    found = signed(bench, body_of(job_id, bench.deliver(job_id).envelope), letter)
    assert (found.own, found.reason, found.cause, found.job) == (False, reason, "why", job_id)


def test_a_body_of_half_characters_is_signed_too(bench: Bench) -> None:
    body = '{"a": "\ud800"}'
    queue = bench.settings.queue_name("default")
    event = DeadLetterEvent(
        letter=DeadLetter(reason=Reason.MALFORMED), job=None, task=None, queue=queue,
        message_id="m", receive_count=1, body=body, body_bytes=9,
    )  # fmt: skip
    members = attribute_members(event.letter, at=1.0, task="\ud800" * 255)
    text = json.dumps(signed_members(bench.worker, event, members))
    found = check_letter(
        text, body=body.encode("utf-8", "surrogatepass"), queue=queue, lane="default",
        verifier=bench.api.public_keyring,
    )  # fmt: skip
    assert not found.own
