"""What a body of the operations API says is heard, however it comes, or refused."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

PAUSE = "/v1/ops/lanes/default/pause"
ROUTES = (
    PAUSE,
    "/v1/ops/lanes/default/resume",
    "/v1/ops/tasks/webhooks.relay/pause",
    "/v1/ops/workers/w1/drain",
    f"/v1/ops/jobs/{'a' * 32}/cancel",
    f"/v1/ops/replays/{'a' * 32}/start",
    f"/v1/ops/replays/{'a' * 32}/pause",
    f"/v1/ops/replays/{'a' * 32}/resume",
    f"/v1/ops/replays/{'a' * 32}/cancel",
)


@pytest.fixture(scope="module")
def app(shared_app: Flask) -> Flask:
    return shared_app


@pytest.fixture
def operator(app: Flask) -> dict[str, str]:
    issued = app.extensions["sealwax"].tokens.issue(tenant="ops", scopes=["ops:read", "ops:write"])
    return {"Authorization": f"Bearer {issued.token}"}


def in_chunks(
    client: FlaskClient, path: str, body: bytes, headers: dict[str, str], kind: str | None
) -> Any:
    """Post a body without a length, as gunicorn hands on one in chunks."""
    return client.post(
        path,
        input_stream=io.BytesIO(body),
        headers={**headers, "Transfer-Encoding": "chunked"},
        content_type=kind,
        environ_overrides={"wsgi.input_terminated": True},
    )


def audit(app: Flask) -> list[Any]:
    return app.extensions["sealwax"].letters.audit.page(limit=100)[0]


@pytest.mark.parametrize("reason", ["too hot", "", "\u00e9", "x" * 200, "=1+1"])
def test_a_reason_in_chunks_stands_in_the_audit_log(app, client, operator, reason: str) -> None:
    body = json.dumps({"reason": reason}).encode()
    answer = in_chunks(client, PAUSE, body, operator, "application/json")
    assert answer.status_code == 200, answer.text
    assert audit(app)[0].reason == (reason or None)
    client.post("/v1/ops/lanes/default/resume", headers=operator)


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"not even JSON", "application/json", 400),
        (b'{"reason": "x"', "application/json", 400),
        (b'{"reason": "x"}', "text/plain", 415),
        (b'{"reason": "x"}', None, 415),
        (b'{"because": "x"}', "application/json", 422),
        (b'{"reason": 7}', "application/json", 422),
        (b'["reason"]', "application/json", 422),
        (b'{"reason": "' + b"x" * 10_000 + b'"}', "application/json", 413),
    ],
)
def test_what_is_no_reason_is_refused_and_changes_nothing(
    app, client, operator, path: str, body: bytes, kind: str | None, status: int
) -> None:
    before = audit(app)
    whole = client.post(path, data=body, headers=operator, content_type=kind)
    chunked = in_chunks(client, path, body, operator, kind)
    assert (whole.status_code, chunked.status_code) == (status, status), whole.text + chunked.text
    assert audit(app) == before
