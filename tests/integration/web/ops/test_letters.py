"""The operations API on dead letters: who may do what, and what each answer says."""

from __future__ import annotations

import json
import re

import pytest
from support.letters import PUBLIC, said_by_a_worker

from sealwax.deadletters.letter import read

JOB = "0123456789abcdef0123456789abcdef"
BODY = '{"headers":{"id":"' + JOB + '","task":"webhooks.relay"},"body":"[[],{},{}]","é":1}'


@pytest.fixture
def letters(app):
    made = app.extensions["sealwax"].letters
    said = {"reason": "rejected", "cause": "http-400", "error": "Rejected", "job": JOB,
            "task": "webhooks.relay", "attempts": 1, "at": 1.0}  # fmt: skip
    message = {
        "MessageId": "m1",
        "Body": BODY,
        "MessageAttributes": {
            "sealwax-dead-letter": {
                "DataType": "String", "StringValue": said_by_a_worker(said, BODY, queue="q"),
            }
        },
    }  # fmt: skip
    made.archive.put([read(message, queue="q", lane="default", now=1_000.0, verifier=PUBLIC)])
    return made


@pytest.fixture
def as_(app):
    """Headers of a token with some scopes."""
    tokens = app.extensions["sealwax"].tokens

    def headers(*scopes: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {tokens.issue(tenant='ops', scopes=scopes).token}"}

    return headers


def test_an_operator_sees_groups_letters_and_bodies(client, letters, as_):
    reader = as_("ops:read")
    (group,) = client.get("/v1/ops/groups", headers=reader).get_json()["groups"]
    assert (group["open"], group["cause"], len(group["trend"])) == (1, "http-400", 24)
    assert client.get(f"/v1/ops/groups/{group['group']}", headers=reader).get_json() == group
    listed = client.get(f"/v1/ops/letters?group={group['group']}&limit=1", headers=reader)
    (letter,) = listed.get_json()["letters"]
    assert (
        letter["why"] == "The task refused the job for good (http-400), Rejected after 1 attempts."
    )
    assert client.get(f"/v1/ops/letters/{JOB}.0", headers=reader).get_json() == letter
    assert client.get(f"/v1/ops/letters?job={JOB}", headers=reader).get_json()["letters"] == [
        letter
    ]
    body = client.get(f"/v1/ops/letters/{JOB}.0/body", headers=reader)
    assert body.data == BODY.encode()
    assert body.headers["Content-Disposition"].startswith("attachment")


def test_a_replay_is_previewed_started_paused_and_audited(client, letters, as_):
    operator = as_("ops:read", "ops:write")
    choice = {"filter": {"cause": "http-400"}, "reason": "mended", "canary": [1]}
    preview = client.post("/v1/ops/replays", json=choice, headers=operator).get_json()
    assert (preview["id"], preview["expected"], preview["state"]) == (None, 1, "preview")
    assert client.get("/v1/ops/replays", headers=operator).get_json()["replays"] == []

    key = operator | {"Idempotency-Key": "click"}
    made = client.post("/v1/ops/replays", json=choice | {"mode": "start"}, headers=key)
    assert (made.status_code, made.get_json()["state"]) == (201, "running")
    again = client.post("/v1/ops/replays", json=choice | {"mode": "start"}, headers=key)
    assert again.get_json()["id"] == made.get_json()["id"]
    where = made.headers["Location"]
    assert client.get(where, headers=operator).get_json() == again.get_json()
    for verb, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        answer = client.post(f"{where}/{verb}", headers=operator, json={"reason": f"to {verb}"})
        assert answer.get_json()["state"] == state
    refused = client.post(f"{where}/resume", headers=operator)
    assert (refused.status_code, refused.get_json()["title"]) == (409, "Not in this state")
    assert client.get(f"{where}/letters", headers=operator).get_json()["letters"] == []

    lines = client.get("/v1/ops/audit", headers=operator).get_json()["lines"]
    assert [line["verb"] for line in reversed(lines)] == [
        "replay.plan", "replay.start", "replay.pause", "replay.resume", "replay.cancel",
    ]  # fmt: skip
    assert [line["reason"] for line in reversed(lines)] == [
        "mended", "mended", "to pause", "to resume", "to cancel",
    ]  # fmt: skip
    assert all(line["actor"].startswith("token:") for line in lines)
    exported = client.get("/v1/ops/audit/export", headers=operator).data.splitlines()
    assert json.loads(exported[0])["verb"] == "replay.plan"


WRONG_CHOICES = [
    {},
    [],
    {"ids": ["x"]},
    {"ids": [1]},
    {"filter": {"payload": "x"}},
    {"filter": {"since": "yesterday"}},
    {"filter": {"since": True}},
    {"filter": {}, "verb": "delete"},
    {"filter": {}, "verb": "discard"},
    {"filter": {}, "rate": "many"},
    {"filter": {}, "rate": -1},
    {"filter": {}, "canary": [True]},
    {"filter": {}, "mode": "now"},
    {"filter": {}, "other": 1},
]
WRONG_PARAMETERS = ["letters?limit=0", "letters?after=x", "letters?colour=red", "audit?after=x"]
NOT_THERE = ["letters/x", "letters/x/body", "groups/x", "replays/x"]


def test_what_is_wrong_is_refused_and_what_is_not_there_is_404(client, letters, as_):
    # One environment for all: making one takes seconds.
    operator = as_("ops:read", "ops:write")
    for choice in WRONG_CHOICES:
        answer = client.post("/v1/ops/replays", json=choice, headers=operator)
        assert answer.status_code == 422, choice
    for path in WRONG_PARAMETERS:
        assert client.get(f"/v1/ops/{path}", headers=operator).status_code == 422, path
    for path in NOT_THERE:
        assert client.get(f"/v1/ops/{path}", headers=operator).status_code == 404, path


def test_who_may_only_read_changes_nothing_and_who_submits_jobs_sees_nothing(
    app, client, letters, as_
):
    reader, submitter = as_("ops:read"), as_("jobs:submit", "jobs:read")
    rules = [rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/v1/ops/")]
    assert len(rules) > 10
    for rule in rules:
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            view = app.view_functions[rule.endpoint]
            assert view.sealwax_scope in {"ops:read", "ops:reveal"} or method != "GET"
            path = re.sub(r"<any\((\w+)[^>]*>", r"\1", rule.rule)
            assert client.open(path, method=method, headers=submitter).status_code == 403
            if method != "GET":
                assert client.open(path, method=method, headers=reader).status_code == 403
    assert client.get("/v1/ops/audit", headers=reader).get_json()["lines"] == []
