"""Tokens and scopes: who is let in."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.problems import CANARY, problem

from sealwax.web.auth import caller_address

pytestmark = pytest.mark.shared_app

GOOD = {"task": "webhooks.relay", "payload": {"event": "ping", "body": {"a": 1}}}


def test_every_route_but_health_needs_a_token(app: Flask, client: FlaskClient) -> None:
    for rule in app.url_map.iter_rules():
        if rule.endpoint in ("health.healthz", "health.readyz"):
            continue
        if rule.endpoint.startswith("console."):
            continue  # its sessions are tested beside it
        view = app.view_functions[rule.endpoint]
        assert hasattr(view, "sealwax_scope"), f"{rule.rule} has no @requires"
        method = next(iter((rule.methods or set()) - {"HEAD", "OPTIONS"}))
        # Of a choice its first, of anything else an id.
        path = re.sub(r"<any\((\w+)[^>]*>", r"\1", rule.rule)
        answer = client.open(re.sub(r"<[^>]+>", "0" * 32, path), method=method)
        problem(answer, 401, "unauthenticated")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer swx_" + "a" * 43, f"Bearer {CANARY}"],
)
def test_bad_credentials_are_401(client, header: str) -> None:
    answer = client.post("/v1/jobs", json=GOOD, headers={"Authorization": header})
    problem(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_scopes_are_needed_and_narrow(client, app) -> None:
    tokens = app.extensions["sealwax"].tokens
    reader = tokens.issue(tenant="acme", scopes=["jobs:read"]).token
    other = tokens.issue(tenant="acme", scopes=["jobs:submit:exports.*"]).token
    narrow = tokens.issue(tenant="acme", scopes=["jobs:submit:webhooks.*"]).token
    for token in (reader, other):
        answer = client.post("/v1/jobs", json=GOOD, headers={"Authorization": f"Bearer {token}"})
        problem(answer, 403, "forbidden")
    bearer = {"Authorization": f"Bearer {narrow}"}
    answer = client.post("/v1/jobs", json=GOOD, headers=bearer)
    assert answer.status_code == 202
    problem(client.get(answer.headers["Location"], headers=bearer), 403, "forbidden")


@pytest.mark.own_app
def test_a_revoked_token_stops_working_within_the_cache_time(client, app, auth) -> None:
    services = app.extensions["sealwax"]
    store = services.tokens
    issued = store.issue(tenant="acme", scopes=["jobs:read"])
    bearer = {"Authorization": f"Bearer {issued.token}"}
    assert client.get("/v1/tasks", headers=bearer).status_code == 200
    assert store.revoke(issued.id)
    assert client.get("/v1/tasks", headers=bearer).status_code == 200  # believed for 30 s
    store._monotonic = lambda real=store._monotonic: real() + 31
    problem(client.get("/v1/tasks", headers=bearer), 401, "unauthenticated")
    assert not store.revoke(issued.id)


def reads(app: Flask, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by each hash that the table of tokens is asked for."""
    store, asked = app.extensions["sealwax"].tokens, []
    read = store._read

    def seen(digest: str):
        asked.append(digest)
        return read(digest)

    monkeypatch.setattr(store, "_read", seen)
    return asked


@pytest.mark.own_app
def test_made_up_tokens_cost_few_reads_and_lock_nobody_out(client, app, auth, monkeypatch) -> None:
    asked = reads(app, monkeypatch)
    statuses = set()
    for number in range(200):
        header = {"Authorization": f"Bearer swx_{number:043d}"}
        answer = client.get("/v1/tasks", headers=header)
        statuses.add(answer.status_code)
    assert statuses == {401, 429}
    assert answer.headers["Retry-After"] == "1"
    # 5 a second, ten seconds' worth at once; the loop itself takes some.
    assert 50 <= len(asked) < 150
    before = len(asked)
    for number in range(200):
        header = {"Authorization": f"Bearer swx_{number:054d}"}
        assert client.get("/v1/tasks", headers=header).status_code == 401
    assert len(asked) == before
    assert client.get("/v1/tasks", headers=auth).status_code == 200


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("198.51.100.7", None, "198.51.100.7"),
        ("8.8.8.8", "203.0.113.9", "8.8.8.8"),
        ("10.0.3.4", "203.0.113.9", "203.0.113.9"),
        ("10.0.3.4", "1.1.1.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.3.4", "1.1.1.1,203.0.113.9:1234", "10.0.3.4"),
        ("10.0.3.4", "nonsense", "10.0.3.4"),
        ("10.0.3.4", "", "10.0.3.4"),
        ("10.0.3.4", "2a00:1450:1:2:3:4:5:6", "2a00:1450:1:2::/64"),
        ("2a00:1450:1:2::1", None, "2a00:1450:1:2::/64"),
        ("2a00:1450:1:2::1", "203.0.113.9", "2a00:1450:1:2::/64"),
        ("", "203.0.113.9", ""),
    ],
)
def test_whose_address_counts(app, peer: str, forwarded: str | None, address: str) -> None:
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    with app.test_request_context("/", headers=headers, environ_base={"REMOTE_ADDR": peer}):
        assert caller_address() == address
