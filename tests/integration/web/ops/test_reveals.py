"""A payload is revealed by a worker, to who asked, once, in the way that the setting allows."""

from __future__ import annotations

import json
import time

import pytest
from support.revealing import archived, enrolled, request, revealing

from sealwax.envelope import Expected, Purpose, UnknownKey, open_envelope
from sealwax.keys.operator import OperatorKey

JOB = "0123456789abcdef0123456789abcdef"
PAYLOAD = {"secret": "canary-7f", "n": 1}


@pytest.fixture(autouse=True)
def settings(app):
    """The app's own settings, which its worker reads too; each test begins in mode `console`."""
    found = app.extensions["sealwax"].settings
    found.reveal.mode = "console"
    return found


@pytest.fixture
def worker(app):
    with revealing(app) as found:
        yield found


def headers_of(app, *scopes: str) -> dict[str, str]:
    token = app.extensions["sealwax"].tokens.issue(tenant="ops", scopes=scopes).token
    return {"Authorization": f"Bearer {token}"}


def test_a_payload_is_revealed_once_to_who_asked_and_nothing_keeps_it(app, client, worker):
    letter_id = archived(app, JOB, PAYLOAD)
    path = f"/v1/ops/letters/{letter_id}/reveal"
    writer = headers_of(app, "ops:read", "ops:write")
    one, two = headers_of(app, "ops:reveal"), headers_of(app, "ops:reveal")
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
        ("letter.reveal", letter_id, "ticket 71"),
        ("reveal.ask", letter_id, "ticket 71"),
    ]

    # What cannot be opened says why.
    forged = archived(app, JOB[::-1], PAYLOAD, argument="swx1.forged")
    again = client.post(f"/v1/ops/letters/{forged}/reveal", json=why, headers=one)
    assert worker.once()
    failed = client.get(again.headers["Location"], headers=one).get_json()
    assert (failed["state"], failed["cause"]) == ("failed", "envelope-malformed")


def test_a_worker_leaves_other_lanes_letters_to_their_own_workers(app, client):
    """It holds no key to them: its answer would be that they cannot be opened."""
    services = app.extensions["sealwax"]
    headers = headers_of(app, "ops:reveal")
    mine, foreign = (archived(app, job * 32, PAYLOAD) for job in ("d", "e"))
    table = services.settings.table_name("letters")
    services.runtime.aws.client("dynamodb").update_item(
        TableName=table,
        Key={"id": {"S": "e" * 32}, "sort": {"S": "letter.0"}},
        UpdateExpression="SET queue = :queue",
        ExpressionAttributeValues={":queue": {"S": "sealwax-other"}},
    )
    answers = [
        client.post(
            f"/v1/ops/letters/{letter}/reveal", json={"reason": "why"}, headers=headers
        ).headers["Location"]
        for letter in (foreign, mine)
    ]
    with revealing(app, lane="default") as worker:
        assert worker.once()
        assert not worker.once()
    assert client.get(answers[0], headers=headers).status_code == 202
    assert client.get(answers[1], headers=headers).get_json()["payload"] == PAYLOAD


# -- mode operator-key ---------------------------------------------------------------------


def test_the_api_hands_a_signed_request_on_and_a_sealed_answer_back(app, client, settings, worker):
    settings.reveal.mode = "operator-key"
    services = app.extensions["sealwax"]
    letter_id = archived(app, "5" * 32, PAYLOAD)
    key = enrolled(services.runtime.stores.source)
    said = request(key, letter_id, now=int(time.time()))
    headers, path = headers_of(app, "ops:reveal"), f"/v1/ops/letters/{letter_id}/reveal"
    asked = client.post(path, json={"request": said}, headers=headers)
    assert (asked.status_code, asked.get_json()["id"]) == (202, said["nonce"])
    # The same request again is none.
    assert client.post(path, json={"request": said}, headers=headers).status_code == 422
    where = asked.headers["Location"]
    assert client.get(where, headers=headers).status_code == 202
    assert worker.once()
    shown = client.get(where, headers=headers).get_json()
    assert "payload" not in shown
    assert "canary-7f" not in json.dumps(shown)
    public = services.runtime.public_keyring
    expect = Expected(purpose=Purpose.REVEAL, task="webhooks.relay", job=said["nonce"], tenant=None)
    with pytest.raises(UnknownKey):
        open_envelope(shown["sealed"], keyring=services.runtime.keyring, expect=expect, now=0)
    opened = open_envelope(shown["sealed"], keyring=key.opener(public), expect=expect, now=0)
    assert json.loads(opened.plaintext) == PAYLOAD
    assert client.get(where, headers=headers).status_code == 404
    lines = services.letters.audit.page(limit=2)[0]
    assert [(line.verb, line.actor.partition(":")[0]) for line in lines] == [
        ("letter.reveal", "operator"),
        ("reveal.ask", "token"),
    ]


@pytest.mark.parametrize(
    ("mode", "body", "status", "problem"),
    [
        ("operator-key", {"reason": "why"}, 409, "reveal-mode"),
        ("operator-key", {}, 409, "reveal-mode"),
        ("operator-key", {"request": {}}, 422, "validation-failed"),
        ("operator-key", {"request": "x"}, 422, "validation-failed"),
        ("operator-key", {"request": {}, "reason": "why"}, 409, "reveal-mode"),
        ("console", {"request": {}}, 422, "validation-failed"),
        ("off", {"reason": "why"}, 409, "reveal-mode"),
        ("off", {"request": {}}, 409, "reveal-mode"),
    ],
)
def test_what_the_mode_does_not_allow_is_refused_with_a_problem(
    app, client, settings, mode, body, status, problem
):
    settings.reveal.mode = mode
    audit = app.extensions["sealwax"].letters.audit
    before = audit.head()
    headers = headers_of(app, "ops:reveal")
    answer = client.post(f"/v1/ops/letters/{'9' * 32}.0/reveal", json=body, headers=headers)
    document = answer.get_json()
    assert (answer.status_code, document["type"]) == (status, f"urn:sealwax:problem:{problem}")
    if problem == "reveal-mode":
        assert mode in document["detail"]
    assert audit.head() == before


def test_a_request_for_another_letter_is_refused(app, client, settings):
    settings.reveal.mode = "operator-key"
    key = OperatorKey.create("ada", "x25519", 1)
    letter_id = f"{'9' * 32}.0"
    said = request(key, f"{'8' * 32}.0", now=int(time.time()))
    answer = client.post(
        f"/v1/ops/letters/{letter_id}/reveal",
        json={"request": said},
        headers=headers_of(app, "ops:reveal"),
    )
    assert answer.status_code == 422
