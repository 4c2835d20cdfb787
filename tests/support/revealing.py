"""Dead letters as workers sign and stewards archive them, and what opens them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask

from sealwax.deadletters.letter import Letter, LetterState, LetterText
from sealwax.deadletters.reveal import Reveals
from sealwax.deadletters.reveal_request import new_fields
from sealwax.deadletters.service import Letters
from sealwax.deadletters.signature import sign_letter
from sealwax.envelope import Context, Purpose, SigningKey, seal, sign_statement
from sealwax.keys.enrolment import enrol_operator
from sealwax.keys.operator import OperatorKey, read_public
from sealwax.ledger import NewJob
from sealwax.runtime import Runtime
from sealwax.secrets import SecretSource
from sealwax.worker.reveal import RevealResponder

__all__ = ["archive", "archived", "enrolled", "message_body", "request", "revealing", "said_of"]

TENANT = "a" * 64


def message_body(job: str, argument: str, *, task: str = "webhooks.relay", **headers: Any) -> bytes:
    """Return a task message as a producer sends it."""
    return json.dumps(
        {
            "headers": {"id": job, "task": task} | headers,
            "properties": {},
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "body": json.dumps([[argument], {}, {}]),
        }
    ).encode()


def said_of(
    body: bytes, job: str, *, queue: str, signer: SigningKey, generation: int = 0, own: bool = True
) -> str:
    """Return the attribute that a worker writes beside a dead letter."""
    members = {
        "reason": "rejected", "cause": "http-400", "error": "Rejected", "job": job, "at": 1_000.0,
        "attempts": 1, "task": "webhooks.relay", "message_id": "m1", "place": None,
    }  # fmt: skip
    return json.dumps(
        sign_letter(members, body=body, queue=queue, own=own, generation=generation, signer=signer)
    )


def archive(
    letters: Letters,
    job: str,
    body: bytes,
    said: str | None,
    *,
    queue: str,
    name: str | None = None,
) -> str:
    """Put a letter into the archive, as a steward does; return its id."""
    letter_id = name or f"{job}.0"
    letter = Letter(
        id=letter_id, state=LetterState.OPEN, group="0" * 16, queue=queue, reason="rejected",
        at=1.0, first=1.0, last=1.0, task="webhooks.relay", job=job, cause="http-400",
        bytes=len(body), digest=hashlib.sha256(body).hexdigest(),
    )  # fmt: skip
    letters.archive.put([(letter, LetterText(body, {}, said))])
    return letter_id


@contextmanager
def revealing(app: Flask, lane: str | None = None) -> Iterator[RevealResponder]:
    """Give a worker's revealing, on the app's own AWS and by the app's settings."""
    runtime = Runtime(app.extensions["sealwax"].settings, "worker", {}, lane=lane)
    try:
        yield RevealResponder(runtime, runtime.letters, Reveals(runtime.control))
    finally:
        runtime.close()


def archived(
    app: Flask, job: str, payload: Any, *, argument: str | None = None, lane: str = "default"
) -> str:
    """Archive a dead job's letter; return its id. `argument` replaces what is sealed."""
    services = app.extensions["sealwax"]
    settings, keyring = services.settings, services.runtime.keyring
    context = Context(
        purpose=Purpose.JOB, task="webhooks.relay", job=job, tenant=TENANT, contract=1,
        issued_at=1, not_after=2,
    )  # fmt: skip
    sealed = seal(
        json.dumps(payload).encode(), context, recipient=keyring.recipient("worker", lane),
        signer=keyring.signer,
    )  # fmt: skip
    services.runtime.ledger.accept(
        NewJob(
            id=job, task="webhooks.relay", tenant=TENANT, lane=lane, contract=1,
            created=1_000.0, not_after=9_000_000_000, expires=9_000_000_000,
        )
    )  # fmt: skip
    services.runtime.ledger.die(
        job, token=None, reason="rejected", cause="http-400", error="Rejected"
    )
    worker = Runtime(settings, "worker", {}, lane=lane)
    body = message_body(job, argument or sealed)
    queue = settings.queue_name(lane)
    said = said_of(body, job, queue=queue, signer=worker.keyring.signer)
    worker.close()
    return archive(services.letters, job, body, said, queue=queue)


def enrolled(source: SecretSource, name: str = "ada") -> OperatorKey:
    """Enrol an operator; return the key."""
    key = OperatorKey.create(name, "x25519", 1)
    enrol_operator(source, read_public(json.dumps(key.public())))
    return key


def request(key: OperatorKey, letter_id: str, *, now: int, **changes: Any) -> dict[str, Any]:
    """Return a request to reveal as an operator signs it; `changes` are signed, too."""
    fields = new_fields(letter_id, "ticket 71", operator=key.id, now=now)
    return sign_statement("reveal", fields | changes, key.signer)
