"""A payload is revealed by a worker, to who asked, once, and the log says so."""

from __future__ import annotations

import pytest
from support.revealing import archived, revealing

JOB = "0123456789abcdef0123456789abcdef"
PAYLOAD = {"secret": "canary-7f", "n": 1}


@pytest.fixture
def worker(app):
    with revealing(app) as found:
        yield found


def test_a_payload_is_revealed_once_to_who_asked_and_nothing_keeps_it(app, client, worker):
    tokens = app.extensions["sealwax"].tokens

    def headers(*scopes: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {tokens.issue(tenant='ops', scopes=scopes).token}"}

    letter_id = archived(app, JOB, PAYLOAD)
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
    forged = archived(app, JOB, PAYLOAD, argument="swx1.forged")
    again = client.post(f"/v1/ops/letters/{forged}/reveal", json=why, headers=one)
    assert worker.once()
    failed = client.get(again.headers["Location"], headers=one).get_json()
    assert (failed["state"], failed["cause"]) == ("failed", "envelope-malformed")


def test_a_worker_leaves_other_lanes_letters_to_their_own_workers(app, client):
    """It holds no key to them: its answer would be that they cannot be opened."""
    services = app.extensions["sealwax"]
    token = services.tokens.issue(tenant="ops", scopes=("ops:reveal",)).token
    headers = {"Authorization": f"Bearer {token}"}
    own = services.settings.queue_name("default")
    foreign, mine = (
        archived(app, job * 32, PAYLOAD, queue=queue)
        for job, queue in (("e", f"{own}-other"), ("d", own))
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
