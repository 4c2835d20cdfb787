"""Jobs over HTTP: what is accepted, what is refused, and what is never said."""

from __future__ import annotations

import threading
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict
from support.problems import CANARY, problem

from sealwax.job import Job
from sealwax.ledger import JobState
from sealwax.producer.publish import QueuedJob
from sealwax.task_definition import task

pytestmark = pytest.mark.shared_app

GOOD = {"task": "webhooks.relay", "payload": {"event": "ping", "body": {"a": 1}}}


def test_an_accepted_job_has_a_location_and_can_be_read(client, auth, app) -> None:
    answer = client.post("/v1/jobs", json=GOOD, headers=auth)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Retry-After"] == "1"
    shown = client.get(answer.headers["Location"], headers=auth)
    document = shown.get_json()
    assert shown.status_code == 200
    assert (document["id"], document["state"], document["attempts"]) == (
        answer.get_json()["id"],
        "accepted",
        0,
    )
    assert "result" not in document


def test_other_tenants_jobs_are_404(client, app, auth) -> None:
    location = client.post("/v1/jobs", json=GOOD, headers=auth).headers["Location"]
    other = app.extensions["sealwax"].tokens.issue(tenant="rival", scopes=["jobs:read"]).token
    problem(client.get(location, headers={"Authorization": f"Bearer {other}"}), 404, "not-found")


@pytest.mark.parametrize("path", ["/v1/jobs/xyz", "/v1/jobs/" + "f" * 32, "/v1/nothing", "/x"])
def test_nothing_there_is_404(client, auth, path: str) -> None:
    problem(client.get(path, headers=auth), 404, "not-found")


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ([], [""]),
        ({}, ["/task", "/payload"]),
        ({"task": 7, "payload": {}}, ["/task"]),
        ({"task": "webhooks.relay", "payload": {}, CANARY: 1}, [""]),
        ({"task": "webhooks.relay", "payload": CANARY}, ["/payload"]),
        ({"task": "webhooks.relay", "payload": {"event": CANARY + " ", "body": 1}},
         ["/payload/event"]),
        ({"task": "webhooks.relay", "payload": {"event": "ping", "body": 1, CANARY: 1}},
         ["/payload/*"]),
        ({"task": "webhooks.relay", "payload": {"event": "ping"}}, ["/payload/body"]),
        ({"task": "webhooks.relay", "payload": {"event": "p", "body": 1, "route": CANARY}},
         ["/payload/route"]),
    ],
)  # fmt: skip
def test_each_bad_field_has_a_pointer_and_is_not_echoed(client, auth, body, pointers) -> None:
    document = problem(client.post("/v1/jobs", json=body, headers=auth), 422, "validation-failed")
    assert [error["pointer"] for error in document["errors"]] == pointers
    assert all(error["detail"] for error in document["errors"])


def test_an_unknown_task_is_404_and_not_echoed(client, auth) -> None:
    answer = client.post("/v1/jobs", json={"task": CANARY, "payload": {}}, headers=auth)
    problem(answer, 404, "unknown-task")


def test_the_same_key_and_request_give_the_same_job(client, auth) -> None:
    headers = auth | {"Idempotency-Key": CANARY}
    first = client.post("/v1/jobs", json=GOOD, headers=headers)
    second = client.post("/v1/jobs", json=GOOD, headers=headers)
    assert first.status_code == second.status_code == 202
    assert first.get_json()["id"] == second.get_json()["id"]
    changed = {"task": "webhooks.relay", "payload": {"event": "ping", "body": {"a": 2}}}
    problem(client.post("/v1/jobs", json=changed, headers=headers), 422, "idempotency-conflict")


def test_the_same_key_of_another_tenant_is_another_job(client, auth, app) -> None:
    other = app.extensions["sealwax"].tokens.issue(tenant="rival", scopes=["jobs:submit"]).token
    key = {"Idempotency-Key": "k"}
    first = client.post("/v1/jobs", json=GOOD, headers=auth | key)
    second = client.post("/v1/jobs", json=GOOD, headers={"Authorization": f"Bearer {other}"} | key)
    assert first.get_json()["id"] != second.get_json()["id"]


def test_concurrent_requests_with_one_key_make_one_job(app, auth) -> None:
    ids: list[str] = []

    def send() -> None:
        answer = app.test_client().post(
            "/v1/jobs", json=GOOD, headers=auth | {"Idempotency-Key": "together"}
        )
        ids.append(answer.get_json()["id"])

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1


@pytest.mark.parametrize("key", ["", " ", "a" * 256, "ä", " a", "a,b", "a, b", "a,", ",b", ","])
def test_a_bad_idempotency_key_is_400(client, auth, key: str) -> None:
    answer = client.post("/v1/jobs", json=GOOD, headers=auth | {"Idempotency-Key": key})
    problem(answer, 400, "invalid-idempotency-key")


@pytest.mark.parametrize(
    "keys", [("a", "b"), ("a", "a"), ("a", ""), ("", "b"), ("a", "b", "c"), ("a,b", "c")]
)
def test_two_idempotency_keys_are_none(client, auth, keys: tuple[str, ...]) -> None:
    headers = [*auth.items(), *(("Idempotency-Key", key) for key in keys)]
    answer = client.post("/v1/jobs", json=GOOD, headers=headers)
    problem(answer, 400, "invalid-idempotency-key")


def test_an_idempotency_key_of_255_characters_will_do(client, auth) -> None:
    answer = client.post("/v1/jobs", json=GOOD, headers=auth | {"Idempotency-Key": "a" * 255})
    assert answer.status_code == 202


@pytest.mark.own_app
def test_an_unreachable_queue_is_503_and_the_job_abandoned_then_accepted_on_repeat(
    client, auth, app, aws
) -> None:
    services = app.extensions["sealwax"]
    sqs = aws.client("sqs")
    name = services.settings.queue_name("default")
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    headers = auth | {"Idempotency-Key": "later"}
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    sqs.delete_queue(QueueUrl=url)
    answer = client.post("/v1/jobs", json=GOOD, headers=headers)
    problem(answer, 503, "queue-unavailable")
    assert answer.headers["Retry-After"]
    job_id = services.runtime.hashes.job_id("acme", "later")
    entry = services.runtime.ledger.get(job_id)
    assert entry.state is JobState.ABANDONED
    sqs.create_queue(
        QueueName=name, Attributes={"VisibilityTimeout": attributes["VisibilityTimeout"]}
    )
    answer = client.post("/v1/jobs", json=GOOD, headers=headers)
    assert answer.status_code == 202, answer.text
    assert services.runtime.ledger.get(job_id).state is JobState.ACCEPTED


@pytest.mark.own_app
def test_a_ledger_that_does_not_answer_is_503(client, app, auth, aws) -> None:
    client.get("/v1/tasks", headers=auth)  # the token is in the cache now
    services = app.extensions["sealwax"]
    aws.client("dynamodb").delete_table(TableName=services.settings.table_name("jobs"))
    problem(client.post("/v1/jobs", json=GOOD, headers=auth), 503, "ledger-unavailable")
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_secrets_and_kms_are_asked_for_no_job(client, auth, app) -> None:
    calls = app.extensions["sealwax"].runtime.aws.calls
    client.post("/v1/jobs", json=GOOD, headers=auth)
    before = dict(calls)
    for _ in range(20):
        assert client.post("/v1/jobs", json=GOOD, headers=auth).status_code == 202
    used = {name: count - before.get(name, 0) for name, count in calls.items()}
    assert {name: count for name, count in used.items() if count} == {"dynamodb.PutItem": 20}


def test_a_repeat_that_was_promised_is_not_abandoned_by_the_first_that_gave_up(
    app, auth, monkeypatch
) -> None:
    """The first send hangs; the repeat with its key gets 202; the first then answers 503."""
    from sealwax.transport.errors import QueueUnreachable

    services = app.extensions["sealwax"]
    real = services.submitter._publisher.publish
    first_sends, first_may_fail = threading.Event(), threading.Event()
    calls: list[int] = []

    def publish(job: QueuedJob) -> None:
        calls.append(1)
        if len(calls) == 1:
            first_sends.set()
            assert first_may_fail.wait(30)
            raise QueueUnreachable
        real(job)

    monkeypatch.setattr(services.submitter._publisher, "publish", publish)
    headers = auth | {"Idempotency-Key": "twice"}
    answers: list[int] = []

    def first() -> None:
        answers.append(app.test_client().post("/v1/jobs", json=GOOD, headers=headers).status_code)

    thread = threading.Thread(target=first)
    thread.start()
    assert first_sends.wait(30)
    second = app.test_client().post("/v1/jobs", json=GOOD, headers=headers)
    assert second.status_code == 202
    first_may_fail.set()
    thread.join()
    assert answers == [503]
    entry = services.runtime.ledger.get(second.get_json()["id"])
    assert entry.state is JobState.ACCEPTED


def test_a_waiting_job_is_cancelled_by_its_tenant_alone(client, app, auth) -> None:
    location = client.post("/v1/jobs", json=GOOD, headers=auth).headers["Location"]
    tokens = app.extensions["sealwax"].tokens
    stranger = tokens.issue(tenant="other", scopes=["jobs:submit"]).token
    bearer = {"Authorization": f"Bearer {stranger}"}
    problem(client.delete(location, headers=bearer), 404, "not-found")
    reader = tokens.issue(tenant="acme", scopes=["jobs:read"]).token
    bearer = {"Authorization": f"Bearer {reader}"}
    problem(client.delete(location, headers=bearer), 403, "forbidden")
    narrow = tokens.issue(tenant="acme", scopes=["jobs:submit:exports.*"]).token
    bearer = {"Authorization": f"Bearer {narrow}"}
    problem(client.delete(location, headers=bearer), 403, "forbidden")
    answer = client.delete(location, headers=auth)
    assert (answer.status_code, answer.get_json()["state"]) == (200, "cancelled")
    assert client.delete(location, headers=auth).status_code == 200
    assert client.get(location, headers=auth).get_json()["state"] == "cancelled"


def test_a_running_job_is_asked_to_stop_and_an_ended_one_refused(client, app, auth) -> None:
    answer = client.post("/v1/jobs", json=GOOD, headers=auth)
    location, job_id = answer.headers["Location"], answer.get_json()["id"]
    ledger = app.extensions["sealwax"].runtime.ledger
    ledger.claim(job_id, token="t", lease=30)
    asked = client.delete(location, headers=auth)
    assert (asked.status_code, asked.get_json()["state"]) == (202, "running")
    assert "cancel_asked" in asked.get_json()
    ledger.succeed(job_id, token="t", result=None)
    assert problem(client.delete(location, headers=auth), 409, "job-ended")["state"] == "succeeded"
    problem(client.delete(f"/v1/jobs/{'0' * 32}", headers=auth), 404, "not-found")
    problem(client.delete("/v1/jobs/zz", headers=auth), 404, "not-found")


def test_delay_and_expiry_are_taken_and_shown(client, auth) -> None:
    answer = client.post("/v1/jobs", json=GOOD | {"delay": 60, "expires_in": 600}, headers=auth)
    assert answer.status_code == 202, answer.text
    document = client.get(answer.headers["Location"], headers=auth).get_json()
    assert "not_before" in document
    assert "expires" in document


def test_delays_and_expiries_that_make_no_sense_are_named(client, auth) -> None:
    wrong: dict[str, list[Any]] = {
        "delay": [-1, True, "60", None, 10**9],
        "expires_in": [0, -5, True, 10**9],
    }
    for name, value in [(name, value) for name, values in wrong.items() for value in values]:
        answer = client.post("/v1/jobs", json=GOOD | {name: value}, headers=auth)
        document = problem(answer, 422, "validation-failed")
        assert [error["pointer"] for error in document["errors"]] == [f"/{name}"]
    body = GOOD | {"delay": 60, "expires_in": 60}
    document = problem(client.post("/v1/jobs", json=body, headers=auth), 422, "validation-failed")
    assert document["errors"][0]["pointer"] == "/delay"


class Kind(Enum):
    RED = "red"


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    at: datetime | None = None
    id: UUID | None = None
    pair: tuple[int, str] | None = None
    names: frozenset[str] | None = None
    kind: Kind | None = None
    count: int | None = None


@task(name="test.strict", contract=Strict)
def strict(payload: Strict, job: Job) -> None:
    """Take what a strict contract takes from JSON."""


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        ({"at": "2026-03-01T12:00:00Z"}, 202),
        ({"id": "12345678-1234-5678-1234-567812345678"}, 202),
        ({"pair": [1, "a"]}, 202),
        ({"names": ["a"]}, 202),
        ({"kind": "red"}, 202),
        ({"count": "1"}, 422),
        ({"pair": ["1", "a"]}, 422),
        ({"kind": "blue"}, 422),
    ],
)
def test_a_strict_contract_takes_what_json_has(client, app, auth, payload, status: int) -> None:
    app.extensions["sealwax"].definitions[strict.name] = strict
    body = {"task": strict.name, "payload": payload}
    answer = client.post("/v1/jobs", json=body, headers=auth)
    assert answer.status_code == status, answer.text
