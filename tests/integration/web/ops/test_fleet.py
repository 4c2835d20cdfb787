"""The operations API: who may look, who may act, and that each act leaves its line."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from sealwax.control import ControlTable, Heartbeats, WorkerReport
from sealwax.ledger import NewJob

WRITES = [
    "/v1/ops/lanes/default/pause",
    "/v1/ops/lanes/default/resume",
    "/v1/ops/tasks/webhooks.relay/pause",
    "/v1/ops/tasks/webhooks.relay/resume",
    "/v1/ops/workers/w1/drain",
    "/v1/ops/workers/w1/resume",
]


@pytest.fixture(scope="module")
def app(shared_app: Flask) -> Flask:
    return shared_app


@pytest.fixture
def bearer(app: Flask):
    def make(*scopes: str, tenant: str = "ops") -> dict[str, str]:
        token = app.extensions["sealwax"].tokens.issue(tenant=tenant, scopes=scopes).token
        return {"Authorization": f"Bearer {token}"}

    return make


@pytest.fixture
def worker(app: Flask):
    parts = app.extensions["sealwax"]
    table = ControlTable(parts.runtime.aws.client("dynamodb"), parts.settings.table_name("control"))
    statuses = Heartbeats(table)
    now = statuses._clock()
    statuses.put(
        WorkerReport(
            id="w1", lane="default", host="h", pid=1, version="1", pool="prefork",
            concurrency=4, started=now, seen=now, counters={"received": 3},
            routes=("webhooks.relay to example.com",), clock_off=-600.0,
        )
    )  # fmt: skip
    yield statuses
    for kind in ("worker", "pause", "drain"):
        for item in table.all(kind):
            table.delete(kind, item["id"])


def audit(app: Flask) -> list[tuple[str, str]]:
    lines, _ = app.extensions["sealwax"].letters.audit.page(limit=100)
    return [(line.verb, line.target) for line in lines]


def test_readers_see_everything_and_change_nothing(app, client, bearer, worker) -> None:
    headers = bearer("ops:read")
    before = audit(app)
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith("/v1/ops/"):
            continue
        view = app.view_functions[rule.endpoint]
        if "GET" in rule.methods:
            assert view.sealwax_scope.startswith("ops:"), rule.rule
        else:
            assert view.sealwax_scope in ("ops:write", "ops:reveal", "ops:erase"), rule.rule
            path = re.sub(r"<any\((\w+)[^>]*>", r"\1", rule.rule)
            path = re.sub(r"<[^>]+>", "default", path)
            method = next(iter(rule.methods - {"OPTIONS"}))
            answer = client.open(path, method=method, headers=headers)
            assert answer.status_code == 403, rule.rule
    for path in ("lanes", "workers", "pauses", "keys", "jobs"):
        assert client.get(f"/v1/ops/{path}", headers=headers).status_code == 200, path
    assert audit(app) == before


def test_routes_that_a_worker_has_closed_are_shown(client, bearer, worker) -> None:
    answer = client.get("/v1/ops/workers", headers=bearer("ops:read"))
    (row,) = [each for each in answer.get_json()["workers"] if each["id"] == "w1"]
    assert row["closed_routes"] == ["webhooks.relay to example.com"]


def test_how_wrong_a_worker_s_clock_is_is_shown(client, bearer, worker) -> None:
    answer = client.get("/v1/ops/workers", headers=bearer("ops:read"))
    (row,) = [each for each in answer.get_json()["workers"] if each["id"] == "w1"]
    assert row["clock_off_seconds"] == -600


def test_producers_see_nothing_of_it(client, bearer) -> None:
    headers = bearer("jobs:submit", "jobs:read")
    for path in ("lanes", "workers", "pauses", "keys", "jobs", f"jobs/{'a' * 32}"):
        assert client.get(f"/v1/ops/{path}", headers=headers).status_code == 403, path


@pytest.mark.parametrize("path", WRITES)
def test_each_act_is_in_the_audit_log(app, client, bearer, worker, path) -> None:
    headers = bearer("ops:write")
    answer = client.post(path, headers=headers, json={"reason": "too hot"})
    assert answer.status_code == 200, answer.text
    what, name, verb = path.split("/")[3:]
    line = app.extensions["sealwax"].letters.audit.page(limit=1)[0][0]
    assert (line.verb, line.target) == (f"{what[:-1]}.{verb}", name)
    assert line.reason == "too hot"
    assert line.actor.startswith("token:")


def test_a_paused_lane_and_a_drained_worker_show_it(client, bearer, worker) -> None:
    headers = bearer("ops:read", "ops:write")
    client.post("/v1/ops/lanes/default/pause", headers=headers)
    client.post("/v1/ops/workers/w1/drain", headers=headers)
    (lane,) = client.get("/v1/ops/lanes", headers=headers).get_json()["lanes"]
    assert lane["paused"]["by"].startswith("token:")
    assert (lane["backlog"], lane["slots"], lane["workers"]) == (0, 4, 1)
    (found,) = client.get("/v1/ops/workers", headers=headers).get_json()["workers"]
    assert found["draining"]
    assert found["state"] == "drained"
    client.post("/v1/ops/workers/w1/resume", headers=headers)
    client.post("/v1/ops/lanes/default/resume", headers=headers)
    (lane,) = client.get("/v1/ops/lanes", headers=headers).get_json()["lanes"]
    assert lane["paused"] is None


def test_what_there_is_not_cannot_be_paused(app, client, bearer, worker) -> None:
    headers = bearer("ops:write")
    before = audit(app)
    for path in (
        "/v1/ops/lanes/nowhere/pause",
        "/v1/ops/tasks/no.such/pause",
        "/v1/ops/workers/nobody/drain",
        "/v1/ops/lanes/default/explode",
    ):
        assert client.post(path, headers=headers).status_code == 404, path
    answer = client.post("/v1/ops/lanes/default/pause", headers=headers, json={"reason": 7})
    assert answer.status_code == 422
    assert audit(app) == before


def test_jobs_are_found_by_tenant_and_by_what_must_be_watched(app, client, bearer) -> None:
    runtime = app.extensions["sealwax"].runtime
    tenant = runtime.hashes.tenant_ref("acme-search")
    ids = [f"{number:032x}" for number in range(1, 4)]
    for number, job in enumerate(ids):
        runtime.ledger.accept(
            NewJob(
                id=job, task="webhooks.relay", tenant=tenant, lane="default", contract=1,
                created=2_000.0 + number, not_after=9_000_000_000, expires=9_000_000_000,
            )
        )  # fmt: skip
    runtime.ledger.die(ids[0], token=None, reason="rejected", cause="http-400", error="E")
    headers = bearer("ops:read")

    def find(**query: str) -> list[str]:
        answer = client.get("/v1/ops/jobs", headers=headers, query_string=query)
        assert answer.status_code == 200, answer.text
        return [job["id"] for job in answer.get_json()["jobs"] if job["tenant"] == tenant]

    assert find(tenant="acme-search") == ids[::-1]
    assert find(tenant="acme-search", state="dead") == ids[:1]
    assert find(tenant="acme-search", state="open") == ids[:0:-1]
    assert find(state="dead") == ids[:1]
    assert find(lane="default", state="open") == ids[1:]
    assert find(tenant="nobody") == []
    shown = client.get(f"/v1/ops/jobs/{ids[0]}", headers=headers).get_json()
    assert (shown["state"], shown["cause"]) == ("dead", "http-400")
    assert (
        client.get("/v1/ops/jobs", headers=headers, query_string={"after": "x"}).status_code == 422
    )


def test_keys_are_shown_by_id_and_nothing_private(client, bearer) -> None:
    answer = client.get("/v1/ops/keys", headers=bearer("ops:read"))
    rows = answer.get_json()["keys"]
    assert {(row["role"], row["lane"], row["kind"]) for row in rows} == {
        (role, lane, kind)
        for role, lane in (("api", None), ("worker", "default"))
        for kind in ("seal", "sign")
    }
    assert set(rows[0]) == {"id", "role", "lane", "kind", "suite", "state", "created"}
