"""A dead letter as the API had sealed it, and the part of a worker that opens it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask

from sealwax.control import ControlTable
from sealwax.deadletters import make_letters
from sealwax.deadletters.letter import read
from sealwax.deadletters.reveal import Reveals
from sealwax.envelope import Context, Purpose, seal
from sealwax.runtime import Runtime
from sealwax.worker.reveal import RevealResponder
from support.letters import PUBLIC, said_by_a_worker

__all__ = ["archived", "revealing"]


@contextmanager
def revealing(app: Flask, lane: str | None = None) -> Iterator[RevealResponder]:
    """Give a worker's revealing, on the app's own AWS."""
    settings = app.extensions["sealwax"].settings
    runtime = Runtime(settings, "worker", {}, lane=lane)
    control = ControlTable(runtime.aws.client("dynamodb"), settings.table_name("control"))
    try:
        yield RevealResponder(runtime, make_letters(settings, runtime.aws), Reveals(control))
    finally:
        runtime.close()


def archived(
    app: Flask, job: str, payload: Any, *, argument: str | None = None, queue: str = "q"
) -> str:
    """Archive a dead letter of a job; return its id. `argument` replaces what is sealed."""
    services = app.extensions["sealwax"]
    keyring = services.runtime.keyring
    context = Context(
        purpose=Purpose.JOB, task="webhooks.relay", job=job, tenant="a" * 64, contract=1,
        issued_at=1, not_after=2,
    )  # fmt: skip
    sealed = seal(
        json.dumps(payload).encode(), context, recipient=keyring.recipient("worker", "default"),
        signer=keyring.signer,
    )  # fmt: skip
    body = {
        "headers": {"id": job, "task": "webhooks.relay"},
        "properties": {},
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "body": json.dumps([[argument or sealed], {}, {}]),
    }
    said = {"reason": "rejected" if argument is None else "stray", "job": job, "at": 1.0}
    text = said_by_a_worker(said, json.dumps(body), queue=queue, own=argument is None)
    message = {
        "MessageId": "m1",
        "Body": json.dumps(body),
        "MessageAttributes": {"sealwax-dead-letter": {"DataType": "String", "StringValue": text}},
    }
    letter, kept = read(message, queue=queue, lane="default", now=1.0, verifier=PUBLIC)
    services.letters.archive.put([(letter, kept)])
    return letter.id
