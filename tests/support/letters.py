"""Fixtures of dead letters: the archive on emulated DynamoDB and S3, and messages as they die.

A room's conftest imports those that it needs.
"""

from __future__ import annotations

import json
import secrets
import time
from functools import cache
from typing import Any, cast

import pytest

from sealwax.aws.clients import Aws
from sealwax.deadletters import Letters, make_letters
from sealwax.deadletters.signature import sign_letter
from sealwax.envelope import Context, Purpose, seal
from sealwax.keys.documents import KeyDocuments
from sealwax.keys.keyring import Keyring
from sealwax.keys.provenance import Evidence
from sealwax.keys.public import PublicKeyring
from sealwax.outbox.payloads import PayloadMissing
from sealwax.provision import ProvisionReport, apply, desired_state
from sealwax.settings import Settings

__all__ = [
    "EVIDENCE",
    "PUBLIC",
    "SHARED_KEYRING",
    "TENANT",
    "WORKER",
    "body_of",
    "letter_settings",
    "letters",
    "message",
    "put",
    "said_by_a_worker",
    "sealed",
]

_DOCUMENTS = KeyDocuments.create("x25519", 100).secrets()
_API = Keyring.load("api", _DOCUMENTS["api/keys"], _DOCUMENTS["shared/keyring"])
#: A worker of all lanes, and the public keys of its environment.
WORKER = Keyring.load("worker", _DOCUMENTS["worker/keys"], _DOCUMENTS["shared/keyring"]).signer
SHARED_KEYRING = _DOCUMENTS["shared/keyring"]
PUBLIC = PublicKeyring.load(SHARED_KEYRING)
#: Whose jobs these are.
TENANT = "ab" * 16


def _nothing(job: str, _: str) -> str:
    raise PayloadMissing(job)


#: What a steward of that environment judges by.
EVIDENCE = Evidence(
    keyring=lambda: PUBLIC, fetch=_nothing, refresh=lambda: True, entry=lambda _: None
)
#: When all of its jobs were sealed.
_SEALED = int(time.time())


def sealed(job: str, task: str = "webhooks.relay") -> str:
    """Return a job's envelope, the same one each time."""
    return _sealed(job, task)


@cache
def _sealed(job: str, task: str) -> str:
    context = Context(
        purpose=Purpose.JOB, task=task, job=job, tenant=TENANT, contract=1, issued_at=_SEALED,
        not_after=2**33,
    )  # fmt: skip
    recipient = _API.recipient("worker", "default")
    return seal(b"{}", context, recipient=recipient, signer=_API.signer)


def body_of(
    job: str, argument: str | None = None, *, task: str = "webhooks.relay", generation: int = 0
) -> str:
    """Return a job's message; `argument` instead of its envelope."""
    headers: dict[str, Any] = {"task": task, "id": job}
    if generation:
        headers["generation"] = generation
    return json.dumps(
        {
            "headers": headers,
            "properties": {},
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "body": json.dumps([[argument or sealed(job, task)], {}, {}]),
        }
    )


def said_by_a_worker(
    said: dict[str, Any],
    body: str,
    *,
    queue: str,
    own: bool = True,
    generation: int = 0,
    signer: Any = WORKER,
) -> str:
    """Return a dead letter's attribute as a worker signs it."""
    members = {name: value for name, value in said.items() if value is not None}
    signed = sign_letter(
        members, body=body.encode(), queue=queue, own=own, generation=generation, signer=signer
    )
    return json.dumps(signed)


@pytest.fixture
def letter_settings(aws_env: Settings, aws: Aws) -> Settings:
    """What these tests need and no more: making everything takes seconds for each."""
    report = ProvisionReport()
    state = desired_state(aws_env)
    for queue in state.queues:
        apply._provision_queue(queue, aws.client("sqs"), report)
    for table in state.tables:
        if table.name.endswith(("-letters", "-audit", "-jobs")):
            apply._provision_table(table, aws.client("dynamodb"), report, time.sleep)
    aws.client("s3").create_bucket(
        Bucket=aws_env.bucket_name,
        CreateBucketConfiguration={"LocationConstraint": cast("Any", aws.region)},
    )
    return aws_env


@pytest.fixture
def letters(letter_settings, aws) -> Letters:
    return make_letters(letter_settings, aws)


@pytest.fixture
def message(letter_settings):
    """Make a dead message as ReceiveMessage returns it, signed by a worker of the lane `default`.

    `own=False`: the worker found that it is a stray; `signed=False`: nobody signed it.
    """

    def make(
        job: str | None = None,
        *,
        task: str = "webhooks.relay",
        reason: str = "rejected",
        cause: str = "http-400",
        generation: int = 0,
        body: str | None = None,
        at: float = 1_000.0,
        own: bool = True,
        signed: bool = True,
        signer: Any = WORKER,
        **more: Any,
    ) -> dict[str, Any]:
        job = job or secrets.token_hex(16)
        text = body or body_of(job, task=task, generation=generation)
        said = {
            "reason": reason, "error": "Rejected", "cause": cause, "job": job, "task": task,
            "queue": "elsewhere", "at": at, "attempts": 1,
            "message_id": f"m{job}", **more,
        }  # fmt: skip
        attribute = json.dumps(said)
        if signed:
            attribute = said_by_a_worker(
                said, text, queue=letter_settings.queue_name("default"), own=own,
                generation=generation, signer=signer,
            )  # fmt: skip
        return {
            "MessageId": secrets.token_hex(8),
            "Body": text,
            "MessageAttributes": {
                "trace": {"DataType": "String", "StringValue": "t1"},
                "sealwax-dead-letter": {"DataType": "String", "StringValue": attribute},
            },
        }

    return make


@pytest.fixture
def put(letters, letter_settings):
    """Archive messages; returns the letters."""
    from sealwax.deadletters.letter import read

    def archive(*messages: dict[str, Any], now: float = 2_000.0) -> list[Any]:
        queue = letter_settings.queue_name("default")
        made = [
            read(each, queue=queue, lane="default", now=now, verifier=PUBLIC) for each in messages
        ]
        letters.archive.put(made)
        return [letter for letter, _ in made]

    return archive
