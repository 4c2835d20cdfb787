"""Whoever can write to the queue can neither read, nor forge, nor move, nor end jobs."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import requests
from support.stack import LiveStack
from support.waiting import wait_for

from sealwax.envelope import Context, PublicKey, Purpose, SigningKey, Suite, peek, seal


@pytest.fixture(scope="module")
def own(make_stack) -> LiveStack:
    return make_stack(
        routes={"demo": {}, "later": {}},
        extra="[limits]\nunknown_key_seconds = 2\nunknown_task_seconds = 1\n",
    )


def message_of(stack: LiveStack, job_id: str) -> dict[str, Any]:
    """Take a job's message out of the queue; the worker must be stopped."""
    sqs, url = stack.client("sqs"), stack.queue_url()

    def found() -> dict[str, Any] | None:
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=1)
        for message in answer.get("Messages", []):
            body = json.loads(message["Body"])
            if body["headers"]["id"] == job_id:
                return {"body": body, "message": message}
        return None

    # A long poll of the worker that was stopped may have taken it with it: then it
    # is visible again when that lease ends.
    return wait_for(found, seconds=60, what=f"the message of {job_id}")


def envelope_of(body: dict[str, Any]) -> str:
    return json.loads(body["body"])[0][0]


def with_envelope(body: dict[str, Any], envelope: str, job_id: str | None = None) -> str:
    changed = json.loads(json.dumps(body))
    args = json.loads(changed["body"])
    args[0][0] = envelope
    changed["body"] = json.dumps(args)
    if job_id is not None:
        changed["headers"]["id"] = changed["headers"]["root_id"] = job_id
    return json.dumps(changed)


def flip(envelope: str) -> str:
    version, header, sealed, signature = envelope.split(".")
    raw = bytearray(base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)))
    raw[-1] ^= 1
    return ".".join(
        (version, header, base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("="), signature)
    )


def test_forged_swapped_and_flipped_messages_die_alone_and_their_jobs_live(own: LiveStack) -> None:
    stack = own
    stack.stop_worker()
    first, second, third = (stack.relay("demo", {"n": n}) for n in range(3))
    bodies = {job: message_of(stack, job)["body"] for job in (first, second, third)}
    header = peek(envelope_of(bodies[first]))
    recipient = json.loads(_shared_keyring(stack))["recipients"]
    worker = next(r for r in recipient if r["id"] == header.recipient)
    attacker = SigningKey(b"\x07" * 32)
    context = Context(
        purpose=Purpose.JOB,
        task=header.context.task,
        job=first,
        tenant=header.context.tenant,
        contract=1,
        issued_at=header.context.issued_at,
        not_after=header.context.not_after,
    )
    forged = seal(
        json.dumps({"route": "later", "event": "forged", "body": 1}).encode(),
        context,
        recipient=PublicKey.from_bytes(
            Suite.by_label(worker["suite"]), bytes.fromhex(worker["public"])
        ),
        signer=attacker,
    )
    sqs, url = stack.client("sqs"), stack.queue_url()
    bad = {
        "forged": with_envelope(bodies[first], forged),
        "swapped": with_envelope(bodies[second], envelope_of(bodies[first])),
        "flipped": with_envelope(bodies[third], flip(envelope_of(bodies[third]))),
    }
    for text in bad.values():
        sqs.send_message(QueueUrl=url, MessageBody=text)
    stack.start_worker()

    def all_letters() -> dict[str, str] | None:
        found = {}
        for message in stack.dead_letters():
            reason = json.loads(message["MessageAttributes"]["sealwax-dead-letter"]["StringValue"])
            for name, text in bad.items():
                if message["Body"] == text:
                    found[name] = f"{reason['reason']} {reason['cause']} {reason['error']}"
        return found if len(found) == 3 else None

    letters = wait_for(all_letters, seconds=60, what="three dead letters")
    assert letters == {
        "forged": "stray unknown-signer UnknownSigner",
        "swapped": "stray context-mismatch ContextMismatch",
        "flipped": "stray signature-invalid SignatureInvalid",
    }
    # The genuine messages of the same jobs run, and the worker goes on.
    for job in (first, second, third):
        assert stack.wait(job, "succeeded")
    assert stack.wait(stack.relay("demo", {"after": True}))["state"] == "succeeded"
    delivered = requests.get(
        f"{stack.sandbox_url}/deliveries/count", params={"path": "/hooks/later"}, timeout=10
    ).json()
    assert delivered["received"] == 0


def test_an_altered_message_is_set_aside_and_its_job_keeps_its_state(own: LiveStack) -> None:
    stack = own
    stack.stop_worker()
    job = stack.relay("demo", {"n": 1})
    taken = message_of(stack, job)
    sqs, url = stack.client("sqs"), stack.queue_url()
    sqs.send_message(
        QueueUrl=url, MessageBody=with_envelope(taken["body"], flip(envelope_of(taken["body"])))
    )
    sqs.delete_message(QueueUrl=url, ReceiptHandle=taken["message"]["ReceiptHandle"])
    stack.start_worker()
    letter = stack.dead_letter_of(job, seconds=60)
    assert (letter["reason"], letter["cause"]) == ("stray", "signature-invalid")
    assert stack.wait(job, "accepted")["attempts"] == 0
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(taken["body"]))
    assert stack.wait(job, "succeeded")["attempts"] == 1


def test_a_message_without_a_ledger_entry_and_an_unknown_task_are_dead_lettered(
    make_stack,
) -> None:
    stack = make_stack(routes={"demo": {}}, extra="[limits]\nunknown_task_seconds = 1\n")
    stack.stop_worker()
    job = stack.relay("demo", {"n": 1})
    body = message_of(stack, job)["body"]
    body["headers"]["task"] = "nobody.knows"
    sqs, url = stack.client("sqs"), stack.queue_url()
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body))
    sqs.send_message(QueueUrl=url, MessageBody="not a message")
    stack.start_worker()

    def reasons() -> set[str] | None:
        found = {
            f"{said['reason']} {said['cause']}"
            for said in (
                json.loads(m["MessageAttributes"]["sealwax-dead-letter"]["StringValue"])
                for m in stack.dead_letters()
            )
        }
        return found if len(found) == 2 else None

    assert wait_for(reasons, seconds=60, what="two letters") == {
        "stray unknown-task",
        "stray not-json",
    }


def _shared_keyring(stack: LiveStack) -> str:
    from sealwax.aws.clients import Aws
    from sealwax.secrets.factory import make_source

    with stack.in_process() as settings:
        return make_source(settings, Aws(settings.aws)).get("shared/keyring")


def test_headers_that_nobody_signed_are_not_obeyed(own: LiveStack) -> None:
    """A stolen message with an expiry or a time limit must not end its job."""
    stack = own
    stack.stop_worker()
    job = stack.relay("demo", {"n": 1})
    taken = message_of(stack, job)
    sqs, url = stack.client("sqs"), stack.queue_url()
    for changes in (
        {"expires": "2020-01-01T00:00:00+00:00"},
        {"timelimit": [0.001, 0.001]},
        {"shadow": "x" * 500},
    ):
        body = json.loads(json.dumps(taken["body"]))
        body["headers"] |= changes
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body))
    chained = json.loads(json.dumps(taken["body"]))
    args, kwargs, embed = json.loads(chained["body"])
    embed["callbacks"] = [{"task": "webhooks.relay", "args": [], "kwargs": {}, "options": {}}]
    chained["body"] = json.dumps([args, kwargs, embed])
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(chained))
    stack.start_worker()
    assert stack.wait(job, "succeeded")["attempts"] == 1
    assert stack.wait(stack.relay("demo", {"after": True}))["state"] == "succeeded"


@pytest.mark.long
def test_unsigned_messages_with_a_jobs_id_do_not_end_the_job(make_stack) -> None:
    stack = make_stack(
        routes={"demo": {}}, lane="lease = 3", extra="[limits]\nunknown_task_seconds = 1\n"
    )
    stack.stop_worker()
    jobs = {how: stack.relay("demo", {"n": 1}) for how in ("malformed", "unknown-task", "control")}
    sqs, url = stack.client("sqs"), stack.queue_url()
    taken = {}
    for how, job in jobs.items():  # the genuine ones come later
        taken[how] = message_of(stack, job)
        sqs.delete_message(QueueUrl=url, ReceiptHandle=taken[how]["message"]["ReceiptHandle"])
    malformed = json.loads(json.dumps(taken["malformed"]["body"]))
    malformed["headers"]["retries"] = "many"
    unknown = json.loads(json.dumps(taken["unknown-task"]["body"]))
    unknown["headers"]["task"] = "nobody.knows"
    for body in (malformed, unknown):
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body))
    stack.start_worker()
    for how in ("malformed", "unknown-task"):
        assert stack.dead_letter_of(jobs[how], seconds=60)["reason"] == "stray"
        assert stack.wait(jobs[how], "accepted")["attempts"] == 0
    for item in taken.values():
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(item["body"]))
    for job in jobs.values():
        assert stack.wait(job, "succeeded")["attempts"] == 1


@pytest.mark.parametrize(
    ("job", "task"),
    [
        ("\ud800", "webhooks.relay"),
        ("x", "webhooks.relay"),
        ("\U0001f600" * 600, "webhooks.relay"),
        ("A" * 32, "webhooks.relay"),
        ("0" * 32, "webhooks.relay"),
        ("0" * 32, "celery.accumulate"),
        ("0" * 32, "celery.group"),
    ],
)
def test_ids_that_are_none_and_tasks_that_are_celerys_end_as_letters(
    own: LiveStack, job: str, task: str
) -> None:
    text = json.dumps(
        {
            "body": json.dumps([["swx1.x.y.z"], {}, {}]),
            "headers": {"task": task, "id": job, "timelimit": [1e-6, 1e-6]},
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "properties": {},
        }
    )
    sqs, url = own.client("sqs"), own.queue_url()
    sent = sqs.send_message(QueueUrl=url, MessageBody=text)["MessageId"]

    def reason() -> str | None:
        for letter in own.dead_letters():
            found = json.loads(letter["MessageAttributes"]["sealwax-dead-letter"]["StringValue"])
            if found["message_id"] == sent:
                return found["reason"]
        return None

    assert wait_for(reason, seconds=60, what="the letter") == "stray"


@pytest.mark.long
def test_two_messages_of_one_long_job_run_it_once(make_stack) -> None:
    stack = make_stack(routes={"slow": {}}, lane="lease = 3")
    requests.put(f"{stack.sandbox_url}/control/slow", json={"hang": 8, "times": 1}, timeout=10)
    key = "same-key"
    job = stack.relay("slow", {"n": 1}, key=key)
    assert stack.relay("slow", {"n": 1}, key=key) == job
    document = stack.wait(job, seconds=90)
    assert (document["state"], document["attempts"]) == ("succeeded", 1)
    count = requests.get(
        f"{stack.sandbox_url}/deliveries/count", params={"path": "/hooks/slow"}, timeout=10
    ).json()
    assert count["received"] == 1


@pytest.mark.parametrize(
    ("args", "kwargs", "headers", "cause"),
    [
        # Celery itself fails on this keyword, before any code of ours runs.
        (["FORGED"], {"self": 1}, {}, "not-sealed"),
        # Far from its time: it must not wait anywhere in the job's name.
        (["FORGED"], {}, {"eta": "9990-01-01T00:00:00+00:00"}, "envelope-malformed"),
        (["FORGED"], {}, {"generation": 10**9}, "generation"),
        (["FORGED", "FORGED"], {}, {}, "not-sealed"),
    ],
)
def test_garbage_with_a_jobs_id_is_set_aside_at_once_and_the_job_runs(
    own: LiveStack, args: list[str], kwargs: dict[str, Any], headers: dict[str, Any], cause: str
) -> None:
    stack = own
    stack.stop_worker()
    job = stack.relay("demo", {"n": 1})
    taken = message_of(stack, job)
    sqs, url = stack.client("sqs"), stack.queue_url()
    sqs.delete_message(QueueUrl=url, ReceiptHandle=taken["message"]["ReceiptHandle"])
    body = json.loads(json.dumps(taken["body"]))
    body["body"] = json.dumps([args, kwargs, {}])
    body["headers"] |= headers
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body))
    before = stack.job(job)
    stack.start_worker()
    letter = stack.dead_letter_of(job, seconds=60)
    assert (letter["reason"], letter["cause"]) == ("stray", cause)
    assert stack.job(job) == before
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(taken["body"]))
    assert stack.wait(job, "succeeded")["attempts"] == 1
