"""Requests and payloads that are small to send and huge once they are parsed."""

from __future__ import annotations

import gc
import json
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from support.problems import problem
from support.waiting import wait_for
from support.web_app import ROUTES, serving

from sealwax.settings import Settings, load_settings

MIB = 2**20

#: Bytes that one task of this app takes.
LARGEST = 26_500_000

HEAD = b'{"task": "webhooks.relay", "payload": {"event": "ping", "body": '

SHAPES = {
    "empty objects": (b"{}", b"[", b"]"),
    "empty lists": (b"[]", b"[", b"]"),
    "small objects": (b'{"a":{}}', b"[", b"]"),
    "empty strings": (b'""', b"[", b"]"),
    "digits": (b"1", b"[", b"]"),
}


def body_of(shape: str, size: int) -> bytes:
    item, opens, closes = SHAPES[shape]
    count = (size - len(HEAD) - 4) // (len(item) + 1)
    return HEAD + opens + b",".join([item] * count) + closes + b"}}"


@pytest.fixture
def edge(provisioned: Settings) -> Iterator[Flask]:
    settings = load_settings(
        environment=provisioned.environment, tasks=ROUTES, limits={"large_wait": 0.2}
    )
    with serving(settings) as app:
        definitions = app.extensions["sealwax"].definitions
        definitions["webhooks.relay"] = replace(definitions["webhooks.relay"], max_payload=LARGEST)
        yield app


@pytest.fixture
def headers(edge: Flask) -> dict[str, str]:
    issued = edge.extensions["sealwax"].tokens.issue(tenant="acme", scopes=["jobs:submit"])
    return {"Authorization": f"Bearer {issued.token}", "Content-Type": "application/json"}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [MIB, pytest.param(LARGEST, marks=pytest.mark.long)])
def test_a_request_takes_a_bounded_multiple_of_what_was_sent(
    edge: Flask, headers: dict[str, str], shape: str, size: int
) -> None:
    body = body_of(shape, size)
    client = edge.test_client()
    gc.collect()
    tracemalloc.start()
    try:
        answer = client.post("/v1/jobs", data=body, headers=headers)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.status_code in (202, 413), answer.text
    if size > MIB:
        found = problem(answer, 413, "too-large")
        assert (found["of"], found["limit"]) in (("values", 100_000), ("keys", 50_000))
    # The body is held twice; 100,000 values are 25 MB at most. 2.4 GB it was of 34 MB.
    assert peak < 3 * len(body) + 80 * MIB


def test_one_large_request_is_read_at_a_time(edge: Flask, headers: dict[str, str]) -> None:
    services = edge.extensions["sealwax"]
    arrived, go_on = threading.Event(), threading.Event()
    submit = services.submitter.submit

    def held(*arguments: Any, **named: Any) -> Any:
        arrived.set()
        assert go_on.wait(60)
        return submit(*arguments, **named)

    services.submitter.submit = held
    body = HEAD + b'"' + b"x" * (2 * MIB) + b'"}}'
    small = HEAD + b'"x"}}'
    statuses: list[int] = []

    def send() -> None:
        answer = edge.test_client().post("/v1/jobs", data=body, headers=headers)
        statuses.append(answer.status_code)

    first = threading.Thread(target=send)
    first.start()
    try:
        wait_for(arrived.is_set)
        second = edge.test_client().post("/v1/jobs", data=body, headers=headers)
        problem(second, 503, "edge-busy")
        assert int(second.headers["Retry-After"]) >= 1
        services.submitter.submit = submit
        # Usual ones do not wait for it.
        answer = edge.test_client().post("/v1/jobs", data=small, headers=headers)
        assert answer.status_code == 202
    finally:
        go_on.set()
        first.join()
    assert statuses == [202]
    # Whatever became of a large request, the next one has its turn.
    for bad in (body[:-1], body):
        answer = edge.test_client().post("/v1/jobs", data=bad, headers=headers)
        assert answer.status_code == (202 if bad is body else 400)


@pytest.mark.long
@pytest.mark.parametrize(("task", "limit"), [("webhooks.relay", LARGEST), ("customers.sync", MIB)])
@pytest.mark.parametrize("length", ["declared", "chunked"])
def test_a_tasks_contract_says_how_large_its_requests_are(
    edge: Flask, headers: dict[str, str], task: str, limit: int, length: str
) -> None:
    def post(size: int) -> Any:
        head = json.dumps({"task": task, "payload": {"event": "ping", "body": ""}})[:-3].encode()
        data = head + b"x" * (size - len(head) - 3) + b'"}}'
        assert len(data) == size
        more: dict[str, Any] = {}
        if length == "chunked":
            # As servers hand chunked bodies over: no length, and an end.
            more = {"environ_overrides": {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""}}
        return edge.test_client().post("/v1/jobs", data=data, headers=headers, **more)

    assert post(limit).status_code in (202, 422)  # 422: no customer has such a body
    assert problem(post(limit + 1), 413, "too-large")["limit"] == limit
