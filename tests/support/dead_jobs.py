"""Many dead jobs in a stack, made of one that truly died: sealed, recorded and archived anew.

To have thousands submitted and die one by one takes longer than what is then
looked at. Everything is made by the product's own code, with the stack's keys.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from sealwax.deadletters import make_letters
from sealwax.deadletters.letter import read
from sealwax.deadletters.signature import sign_letter
from sealwax.envelope import Expected, open_envelope, peek, seal
from sealwax.runtime import Runtime
from sealwax.settings import load_settings
from sealwax.transport.codec import decode, encode
from support.stack import LiveStack

__all__ = ["multiply"]


@contextmanager
def _runtimes(stack: LiveStack) -> Iterator[tuple[Runtime, Runtime]]:
    with pytest.MonkeyPatch.context() as patched:
        for name, value in stack.variables.items():
            patched.setenv(name, value)
        settings = load_settings()
        api, worker = Runtime(settings, "api", {}), Runtime(settings, "worker", {})
        try:
            yield api, worker
        finally:
            api.close()
            worker.close()


def multiply(stack: LiveStack, job: str, count: int) -> list[str]:
    """Make `count` more jobs that died as this one did, each with a payload of its own.

    The payload's `body` is `{"n": 0}`, `{"n": 1}` and so on. Returns their ids.
    """
    with _runtimes(stack) as (api, worker):
        letters = make_letters(api.settings, api.aws)
        (letter,) = letters.archive.of_job(job)
        text = letters.archive.body(letter.id)
        message = decode(text.body.decode(), max_depth=64)
        envelope = json.loads(message["body"])[0][0]
        context = peek(envelope).context
        expect = Expected(purpose=context.purpose, task=context.task, job=job, tenant=None)
        opened = open_envelope(envelope, keyring=worker.keyring, expect=expect, now=time.time())
        payload = json.loads(opened.plaintext)
        entry = stack.ledger_item(job)
        recipient, signer = api.keyring.recipient("worker", "default"), api.keyring.signer

        said = json.loads(text.said or "{}")
        said["at"] = said.pop("at_ms") / 1_000
        made: list[str] = []
        items: list[dict[str, Any]] = []
        dead: list[dict[str, Any]] = []
        for n in range(count):
            new = secrets.token_hex(16)
            plaintext = json.dumps(payload | {"body": {"n": n}}).encode()
            sealed = seal(plaintext, replace(context, job=new), recipient=recipient, signer=signer)
            arguments = json.loads(message["body"])
            arguments[0] = [sealed]
            whole = json.loads(json.dumps(message).replace(job, new))
            body = encode(whole | {"body": json.dumps(arguments)})
            signed = sign_letter(
                said | {"job": new}, body=body.encode(), queue=letter.queue, own=True,
                generation=0, signer=worker.keyring.signer,
            )  # fmt: skip
            dead.append(
                {
                    "MessageId": secrets.token_hex(8),
                    "Body": body,
                    "MessageAttributes": {
                        "sealwax-dead-letter": {
                            "DataType": "String", "StringValue": json.dumps(signed),
                        }
                    },
                }
            )  # fmt: skip
            items.append(entry | {"id": {"S": new}})
            made.append(new)

        client, table = api.aws.client("dynamodb"), api.settings.table_name("jobs")
        for start in range(0, count, 25):
            rest: Any = {table: [{"PutRequest": {"Item": i}} for i in items[start : start + 25]]}
            while rest:
                rest = client.batch_write_item(RequestItems=rest)["UnprocessedItems"]
        now = time.time()
        public = worker.public_keyring
        letters.archive.put(
            [
                read(each, queue=letter.queue, lane="default", now=now, verifier=public)
                for each in dead
            ]
        )
        return made
