"""Request bodies: which are read as JSON."""

from __future__ import annotations

import json

import pytest
from support.problems import problem

GOOD = {"task": "webhooks.relay", "payload": {"event": "ping", "body": {"a": 1}}}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"task": NaN}',
        b'{"a": Infinity}',
        b'{"task": 1e999}',
        b'{"task": "a", "task": "b"}',
        b'{"x": "\\ud800"}',
        b"\xff\xfe",
        b'"' + b"1" * 100,
        b"[" * 100 + b"]" * 100,
        b"1" * 4096,
    ],
)
def test_what_is_not_json_is_400(client, auth, body: bytes) -> None:
    answer = client.post("/v1/jobs", data=body, headers=auth, content_type="application/json")
    if body == b"1" * 4096:  # too many digits for an integer below 4,300: valid JSON, no object
        problem(answer, 422, "validation-failed")
    else:
        problem(answer, 400, "malformed-request")


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 202),
        ("application/json; charset=utf-8", 202),
        ("application/cloudevents+json", 202),
        ("text/plain", 415),
        ("application/json; charset=latin-1", 415),
        ("application/x-www-form-urlencoded", 415),
        (None, 415),
    ],
)
def test_the_media_type_must_be_json(client, auth, content_type, status: int) -> None:
    answer = client.post("/v1/jobs", data=json.dumps(GOOD), headers=auth, content_type=content_type)
    assert answer.status_code == status
    if status == 415:
        problem(answer, 415, "unsupported-media-type")


def test_the_body_limit_holds_at_its_edge(client, auth) -> None:
    def body(size: int) -> bytes:
        empty = json.dumps(
            {"task": "webhooks.relay", "payload": {"event": "ping", "body": ""}}
        ).encode()
        payload = {"event": "ping", "body": "x" * (size - len(empty))}
        filled = {"task": "webhooks.relay", "payload": payload}
        return json.dumps(filled).encode()

    limit = client.application.extensions["sealwax"].settings.limits.request_bytes
    for size, status in ((limit, 202), (limit + 1, 413)):
        data = body(size)
        assert len(data) == size
        answer = client.post("/v1/jobs", data=data, headers=auth, content_type="application/json")
        assert answer.status_code == status, answer.text
    document = problem(answer, 413, "too-large")
    assert document["limit"] == limit == 4096
