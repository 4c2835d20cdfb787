"""The console's pages of strays: whatever strangers wrote is shown as text, and never sent."""

from __future__ import annotations

import json

import pytest
from support.console import sign_in
from support.letters import PUBLIC, body_of

from sealwax.deadletters import Letter
from sealwax.deadletters.letter import read

JOB = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def stray(app) -> Letter:
    said = json.dumps({"reason": "rejected", "job": JOB, "cause": "<b>cause</b>"})
    message = {
        "MessageId": "<b>id</b>",
        "Body": body_of(JOB, "<b>FORGED</b>", task="<b>task</b>"),
        "MessageAttributes": {
            "sealwax-dead-letter": {"DataType": "String", "StringValue": said},
            "x": {"DataType": "String", "StringValue": "<b>attribute</b>"},
        },
    }
    made = read(message, queue="q", lane="default", now=1_000.0, verifier=PUBLIC)
    app.extensions["sealwax"].letters.archive.put([made])
    return made[0]


@pytest.fixture
def browse(app):
    def signed_in(*scopes: str):
        client = app.test_client()
        token = app.extensions["sealwax"].tokens.issue(tenant="ops", scopes=scopes).token
        assert sign_in(client, token).status_code == 303
        return client

    return signed_in


def test_strays_have_a_page_of_their_own_and_are_on_no_other(stray, browse):
    client = browse("ops:read")
    text = client.get("/console/strays/").text
    assert f"/console/strays/{stray.id}" in text
    assert "unsigned" in text
    assert f"/console/jobs/{JOB}" in text
    assert "Discard" not in text.replace("Discarded", "").replace("discards it", "")
    assert "<b>" not in text
    assert stray.id not in client.get("/console/letters/search").text
    assert "Nothing is dead" in client.get("/console/letters/").text
    assert stray.id in client.get(f"/console/strays/?job={JOB}").text
    assert stray.id not in client.get(f"/console/strays/?job={'f' * 32}").text


def test_one_stray_is_shown_downloaded_and_offered_for_discarding_alone(stray, browse):
    client = browse("ops:read", "ops:write")
    page = client.get(f"/console/strays/{stray.id}")
    assert "no worker has signed" in page.text
    assert "&lt;b&gt;attribute" in page.text
    assert "<b>" not in page.text
    assert "Replay" not in page.text.replace(">Replays<", "")
    body = client.get(f"/console/strays/{stray.id}/body")
    assert body.data == body_of(JOB, "<b>FORGED</b>", task="<b>task</b>").encode()
    assert body.headers["Content-Type"] == "application/octet-stream"
    plan = client.get("/console/replays/new?verb=discard&reason=stray&queue=q").text
    assert '<p class="count-big">1</p>' in plan
    assert client.get(f"/console/strays/{JOB}.0").status_code == 404
    # The page of letters says no more of it, and offers no more.
    assert "Replay 1 letter" not in client.get(f"/console/letters/{stray.id}").text
