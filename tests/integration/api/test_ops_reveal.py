"""A payload is revealed by a worker, to who asked, once, and the log says so."""

from __future__ import annotations

import json

import pytest

from sealwax.control import ControlTable
from sealwax.envelope import Context, Purpose, seal
from sealwax.letters import make_letters
from sealwax.letters.letter import read
from sealwax.letters.reveal import Reveals
from sealwax.runtime import Runtime
from sealwax.worker.revealing import Revealing

JOB = "0123456789abcdef0123456789abcdef"
PAYLOAD = {"secret": "canary-7f", "n": 1}


@pytest.fixture
def worker(app):
    settings = app.extensions["sealwax"].settings
    runtime = Runtime(settings, "worker", {})
    control = ControlTable(runtime.aws.client("dynamodb"), settings.table_name("control"))
    yield Revealing(runtime, make_letters(settings, runtime.aws), Reveals(control))
    runtime.close()


def archive(app, *, argument: str | None = None) -> str:
    """Archive a dead letter as the API had sealed it; return its id."""
    services = app.extensions["sealwax"]
    keyring = services.runtime.keyring
    context = Context(
        purpose=Purpose.JOB, task="webhooks.relay", job=JOB, tenant="a" * 64, contract=1,
        issued_at=1, not_after=2,
    )  # fmt: skip
    sealed = seal(
        json.dumps(PAYLOAD).encode(), context, recipient=keyring.recipient("worker"),
        signer=keyring.signer,
    )  # fmt: skip
    body = {
        "headers": {"id": JOB, "task": "webhooks.relay"},
        "properties": {},
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "body": json.dumps([[argument or sealed], {}, {}]),
    }
    said = {"reason": "rejected" if argument is None else "unopenable", "job": JOB}
    message = {
        "MessageId": "m1",
        "Body": json.dumps(body),
        "MessageAttributes": {
            "sealwax-dead-letter": {"DataType": "String", "StringValue": json.dumps(said)}
        },
    }
    letter, text = read(message, queue="q", now=1.0)
    services.letters.archive.put([(letter, text)])
    return letter.id


def test_a_payload_is_revealed_once_to_who_asked_and_nothing_keeps_it(app, client, worker):
    tokens = app.extensions["sealwax"].tokens

    def headers(*scopes: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {tokens.issue(tenant='ops', scopes=scopes).token}"}

    letter_id = archive(app)
    path = f"/v1/ops/letters/{letter_id}/reveal"
    writer, one, two = (
        headers("ops:read", "ops:write"),
        headers("ops:reveal"),
        headers("ops:reveal"),
    )
    why = {"reason": "ticket 71"}
    assert client.post(path, json=why, headers=writer).status_code == 403
    assert client.post(path, json={}, headers=one).status_code == 422
    assert client.post("/v1/ops/letters/x/reveal", json=why, headers=one).status_code == 404

    asked = client.post(path, json=why, headers=one)
    assert asked.status_code == 202
    where = asked.headers["Location"]
    assert client.get(where, headers=one).status_code == 202
    assert worker.once()
    assert not worker.once()
    services = app.extensions["sealwax"]
    stored = services.runtime.aws.client("dynamodb").scan(
        TableName=services.settings.table_name("control")
    )
    assert "canary-7f" not in repr(stored)
    assert client.get(where, headers=two).status_code == 404
    shown = client.get(where, headers=one)
    assert (shown.status_code, shown.get_json()["payload"]) == (200, PAYLOAD)
    assert shown.headers["Cache-Control"] == "no-store"
    assert client.get(where, headers=one).status_code == 404
    lines, _ = services.letters.audit.page()
    assert [(line.verb, line.target, line.reason) for line in lines] == [
        ("letter.reveal", letter_id, "ticket 71")
    ]

    # What cannot be opened says why.
    forged = archive(app, argument="swx1.forged")
    again = client.post(f"/v1/ops/letters/{forged}/reveal", json=why, headers=one)
    assert worker.once()
    failed = client.get(again.headers["Location"], headers=one).get_json()
    assert (failed["state"], failed["cause"]) == ("failed", "envelope-malformed")
