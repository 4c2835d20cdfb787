"""SQS away for a while: every submission is accepted, and runs once when it is back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from support.fault_proxy import Fault
from support.submitting import submit
from support.waiting import wait_for

from sealwax.aws.clients import Aws
from sealwax.web.app import create_app


@pytest.fixture
def api(make_roles) -> Iterator[tuple[Flask, dict[str, str], object]]:
    roles = make_roles()
    app = create_app(roles.settings)
    services = app.extensions["sealwax"]
    token = services.tokens.issue(tenant="acme", scopes=["jobs:submit", "jobs:read"]).token
    yield app, {"Authorization": f"Bearer {token}"}, roles
    services.runtime.close()


def outage(api, *, kind: str, seconds: float, rate: float) -> list[tuple[int, float]]:
    """Submit at a rate while SQS is away; return each status and duration."""
    app, auth, roles = api
    roles.steward()
    roles.worker()
    assert submit(app, auth, 0)[0] == 202
    wait_for(lambda: roles.marks()[0] == 1, seconds=60)
    roles.proxy.break_with(Fault(kind))
    stop = threading.Event()
    answers: list[tuple[int, float]] = []
    count = int(seconds * rate)
    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        waiting = []
        for n in range(1, count + 1):
            stop.wait(max(0.0, began + n / rate - time.monotonic()))
            waiting.append(pool.submit(submit, app, auth, n))
        answers = [each.result(120) for each in waiting]
    assert set(roles.marks()) == {0}
    roles.proxy.heal()
    wait_for(lambda: len(roles.marks()) == count + 1, seconds=180, what="every job to run")
    assert set(roles.marks().values()) == {1}
    return answers


def test_submissions_while_sqs_refuses_get_202_and_run_once_when_it_is_back(api):
    answers = outage(api, kind="refuse", seconds=5, rate=10)
    assert {status for status, _ in answers} == {202}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["refuse", "mute"])
def test_sqs_unreachable_for_a_minute(api, kind):
    answers = outage(api, kind=kind, seconds=60, rate=20)
    times = sorted(duration for _, duration in answers)
    print(
        f"{kind}: {len(answers)} submissions, median {times[len(times) // 2]:.3f} s, "
        f"p99 {times[int(len(times) * 0.99)]:.3f} s, longest {times[-1]:.3f} s"
    )
    assert {status for status, _ in answers} == {202}


def test_a_delayed_job_runs_once_it_is_due_and_not_before(api):
    """Longer than SQS can delay, so through the outbox; its due time is put forward."""
    app, auth, roles = api
    assert submit(app, auth, 1, delay=5_000)[0] == 202
    assert submit(app, auth, 2, delay=1)[0] == 202
    roles.worker()
    wait_for(lambda: roles.marks()[2] == 1, seconds=60)
    runtime = app.extensions["sealwax"].runtime
    (item,) = runtime.outbox.due(time.time() + 6_000, 10)
    entry = runtime.ledger.get(item.job)
    assert entry.not_before == pytest.approx(item.due)
    assert item.due == pytest.approx(entry.created + 5_000)
    assert roles.marks()[1] == 0
    runtime.aws.client("dynamodb").update_item(
        TableName=runtime.settings.table_name("jobs"),
        Key={"id": {"S": item.job}},
        UpdateExpression="REMOVE not_before",
    )
    runtime.outbox.release(item, due=time.time())
    roles.steward()
    wait_for(lambda: roles.marks()[1] == 1, seconds=60)


def test_a_repeat_does_not_put_a_delayed_job_off(api):
    app, auth, _ = api
    headers = auth | {"Idempotency-Key": "once"}
    outbox = app.extensions["sealwax"].runtime.outbox
    due = []
    for delay in (5_000, 9_000, 0):
        assert submit(app, headers, 1, delay=delay)[0] == 202
        (item,) = outbox.due(time.time() + 20_000, 10)
        due.append(item.due)
    assert due == [due[0]] * 3


@pytest.mark.long
def test_a_long_wait_between_attempts_is_spent_in_the_outbox(api):
    app, auth, roles = api
    roles.worker()
    body = {"task": "test.later", "payload": {"n": 7}}
    job = app.test_client().post("/v1/jobs", json=body, headers=auth).get_json()["id"]
    outbox = app.extensions["sealwax"].runtime.outbox
    (item,) = wait_for(lambda: outbox.due(time.time() + 9_000, 10), seconds=60, what="parking")
    assert (item.job, item.task, item.lane) == (job, "test.later", "default")
    assert item.id.startswith(f"{job}#")
    assert item.due > time.time() + 1_800
    assert roles.marks()[7] == 1
    # Put forward in the ledger, too: what comes before its time is not run.
    Aws().client("dynamodb").update_item(
        TableName=roles.settings.table_name("jobs"),
        Key={"id": {"S": job}},
        UpdateExpression="SET #due = :now",
        ExpressionAttributeNames={"#due": "due"},
        ExpressionAttributeValues={":now": {"N": str(time.time())}},
    )
    outbox.release(item, due=time.time())
    roles.steward()
    wait_for(lambda: roles.marks()[7] == 2, seconds=60)
    ledger = app.extensions["sealwax"].runtime.ledger
    wait_for(lambda: ledger.get(job).state == "succeeded", seconds=60)
    assert ledger.get(job).attempts == 2
    wait_for(lambda: outbox.get(item.id) is None)


def test_a_delay_that_is_no_number_of_seconds_in_range_is_422(api):
    app, auth, _ = api
    for delay in (-1, "1", True, None, 1e9):
        assert submit(app, auth, 1, delay=delay)[0] == 422


def test_outbox_and_sqs_both_away_is_503_and_the_job_abandoned(api, monkeypatch):
    from sealwax.outbox.store import Outbox, OutboxUnreachable

    app, auth, roles = api

    def put(*_: object) -> None:
        raise OutboxUnreachable

    monkeypatch.setattr(Outbox, "put", put)
    roles.proxy.break_with(Fault("refuse"))
    headers = auth | {"Idempotency-Key": "k"}
    assert submit(app, headers, 1)[0] == 503
    services = app.extensions["sealwax"]
    job = services.runtime.hashes.job_id("acme", "k")
    assert services.runtime.ledger.get(job).state == "abandoned"
    monkeypatch.undo()
    assert submit(app, headers, 1)[0] == 202
    assert services.runtime.ledger.get(job).state == "accepted"
