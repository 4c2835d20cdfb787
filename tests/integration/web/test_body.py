"""Request bodies: which are read as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from support.problems import problem

GOOD = {"task": "webhooks.relay", "payload": {"event": "ping", "body": {"a": 1}}}


@pytest.mark.shared_app
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


@pytest.mark.shared_app
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


@pytest.mark.shared_app
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


def relay(body: object) -> bytes:
    return json.dumps({"task": "webhooks.relay", "payload": {"event": "p", "body": body}}).encode()


@pytest.mark.parametrize("edge", [[{}] * 94, dict.fromkeys(map(str, range(95))), [[[[[[]]]]]]])
def test_values_keys_and_levels_have_their_limits_at_the_edge(client, auth, edge) -> None:
    """The request around it has 5 values, 4 keys and 2 levels."""
    edge_services = client.application.extensions["sealwax"]
    limits = edge_services.settings.limits
    # A root, a task, a payload, an event and the body: five values, four names.
    over: Any
    if isinstance(edge, dict):
        limits.json_keys, kind = 99, "keys"
        over = {**edge, "more": None}
    elif edge[0] == {}:
        limits.json_values, kind = 99, "values"
        over = [*edge, {}]
    else:
        limits.json_depth, kind = 8, "depth"
        over = [edge]
    for body, status in ((edge, 202), (over, 400 if kind == "depth" else 413)):
        answer = client.post(
            "/v1/jobs", data=relay(body), headers=auth, content_type="application/json"
        )
        assert answer.status_code == status, answer.text
    if kind != "depth":
        document = problem(answer, 413, "too-large")
        assert (document["limit"], document["of"]) == (99, kind)
    else:
        assert problem(answer, 400, "malformed-request")["limit"] == 8


@pytest.mark.shared_app
def test_a_task_takes_as_much_as_it_declares_and_others_do_not(client, auth) -> None:
    edge = client.application.extensions["sealwax"]
    name = "webhooks.relay"
    size = len(relay("x" * 8_000))

    def post() -> Any:
        return client.post(
            "/v1/jobs", data=relay("x" * 8_000), headers=auth, content_type="application/json"
        )

    before, other = edge.definitions[name], edge.definitions["exports.build"]
    try:
        # Another task declares more: its limit is not this one's.
        edge.definitions["exports.build"] = replace(other, max_payload=2 * size)
        assert edge.body_limit == 2 * size
        assert problem(post(), 413, "too-large")["limit"] == 4_096
        for most, status in ((size, 202), (size - 1, 413)):
            edge.definitions[name] = replace(before, max_payload=most)
            assert post().status_code == status
    finally:
        edge.definitions.update({name: before, "exports.build": other})


def test_large_bodies_are_taken_one_at_a_time(client, auth) -> None:
    edge = client.application.extensions["sealwax"]
    before = edge.definitions["webhooks.relay"]
    edge.definitions["webhooks.relay"] = replace(before, max_payload=20_000)
    edge.settings.limits.large_wait = 0.1

    def post(size: int) -> Any:
        return client.post(
            "/v1/jobs", data=relay("x" * size), headers=auth, content_type="application/json"
        )

    try:
        assert edge.large_bodies.enter(1)
        answer = post(8_000)
        problem(answer, 503, "edge-busy")
        assert int(answer.headers["Retry-After"]) > 0
        assert post(100).status_code == 202
        edge.large_bodies.leave()
        # Each lets the next one in.
        for _ in range(2):
            assert post(8_000).status_code == 202
    finally:
        edge.definitions["webhooks.relay"] = before
