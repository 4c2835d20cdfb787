"""The API and a worker at work under the templates' policies, each call checked.

moto's own enforcement looks at actions alone. So each call is checked before it
leaves, by the role's policy and, for KMS, the key's: action, resource and
conditions. What is refused fails as AWS would fail it.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import pytest
from support.enforcer import Enforcer, enforced
from support.revealing import archived, enrolled, request, revealing

from sealwax.aws.clients import Aws
from sealwax.keys.lifecycle import init_keys
from sealwax.outcomes import Retry
from sealwax.producer.publish import QueuedJob
from sealwax.provision import provision
from sealwax.runtime import Runtime
from sealwax.secrets import SecretAccessDenied
from sealwax.secrets.factory import make_source
from sealwax.settings import Settings, load_settings
from sealwax.task_definition import discover
from sealwax.transport.checks import check_queue
from sealwax.transport.engine import Engine
from sealwax.transport.options import TransportOptions
from sealwax.web.app import create_app
from sealwax.worker.attempt import Attempt, ReceivedJob

ROUTES = {
    "webhooks": {
        "default_route": "closed",
        "routes": {
            "closed": {
                "url": "http://127.0.0.1:9/closed",
                "secret": "app/webhooks/closed",
                "rule": {"cidrs": ["127.0.0.1/32"], "schemes": ["http"], "ports": [9]},
            }
        },
    },
    "exports": {"bucket": "exports"},
}


@pytest.fixture
def settings(moto_env: Settings) -> Settings:
    return load_settings(environment=moto_env.environment, tasks=ROUTES)


@pytest.fixture
def enforcer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Enforcer:
    aws = Aws()
    provision(settings, aws)
    source = make_source(settings, aws)
    init_keys(settings, source)
    source.put("app/webhooks/closed", "whsec_" + "c2VjcmV0" * 4)
    return enforced(settings, monkeypatch)


class Recorder:
    """Lets a publisher send, and keeps what it sent."""

    def __init__(self, publisher: Any) -> None:
        self._publisher = publisher
        self.sent: list[tuple[str, str, str]] = []

    def publish(self, job: QueuedJob) -> None:
        self._publisher.publish(job)
        self.sent.append((job.definition.name, job.job_id, job.envelope))


def submit(settings: Settings, enforcer: Enforcer, body: Any) -> tuple[str, str, str]:
    """Submit a job through the API's own role; return task, id and envelope."""
    enforcer.role = "api"
    app = create_app(settings)
    services = app.extensions["sealwax"]
    try:
        enforcer.role = None
        token = services.tokens.issue(tenant="acme", scopes=["jobs:submit", "jobs:read"]).token
        enforcer.role = "api"
        recorder = Recorder(services.submitter._publisher)
        services.submitter._publisher = recorder
        client = app.test_client()
        headers = {"Authorization": f"Bearer {token}"}
        payload = {"event": "ping", "body": body}
        answer = client.post(
            "/v1/jobs", json={"task": "webhooks.relay", "payload": payload}, headers=headers
        )
        assert answer.status_code == 202, answer.json
        assert client.get(answer.headers["Location"], headers=headers).status_code == 200
        assert client.get("/readyz").status_code == 200
    finally:
        services.runtime.close()
        enforcer.role = None
    return recorder.sent[0]


def attempt(settings: Settings, enforcer: Enforcer, job: tuple[str, str, str]) -> Any:
    """Run one attempt in the worker's own role."""
    definitions = discover(settings.task_modules)
    task, job_id, envelope = job
    enforcer.role = "worker"
    try:
        runtime = Runtime(settings, "worker", definitions, lane="default")
        delivery = ReceivedJob(
            job_id=job_id,
            task=task,
            envelope=envelope,
            token=secrets.token_hex(16),
            first_received_at=time.time(),
        )
        return Attempt(runtime, definitions[task], delivery, lease=30).run()
    finally:
        enforcer.role = None


@pytest.mark.parametrize("size", [10, 300_000], ids=["in the message", "through the bucket"])
def test_a_job_passes_both_roles_and_nothing_is_refused(settings, enforcer, size):
    job = submit(settings, enforcer, {"data": "x" * size})
    outcome = attempt(settings, enforcer, job)

    assert isinstance(outcome, Retry)  # the task ran; its receiver is closed
    assert enforcer.refused == []
    assert {"dynamodb:PutItem", "sqs:SendMessage", "kms:Decrypt"} <= enforcer.used["api"]
    assert {"dynamodb:UpdateItem", "kms:Decrypt"} <= enforcer.used["worker"]
    if size > 100_000:
        assert "s3:PutObject" in enforcer.used["api"]
        assert "s3:GetObject" in enforcer.used["worker"]


def test_a_worker_may_bury_and_delete_a_big_payload(settings, enforcer):
    _, job_id, reference = submit(settings, enforcer, {"data": "x" * 300_000})
    enforcer.role = "worker"
    definitions = discover(settings.task_modules)
    payloads = Runtime(settings, "worker", definitions, lane="default").payloads
    payloads.move_to_dead(job_id, reference)
    payloads.erase(job_id)
    assert enforcer.refused == []


@pytest.mark.parametrize("mode", ["operator-key", "console"])
def test_a_payload_is_revealed_with_both_roles_own_rights_and_no_more(settings, enforcer, mode):
    settings.reveal.mode = mode
    app = create_app(settings)
    services = app.extensions["sealwax"]
    key = enrolled(services.runtime.stores.source)
    letter = archived(app, "5" * 32, {"n": 1})
    token = services.tokens.issue(tenant="ops", scopes=["ops:read", "ops:reveal"]).token
    headers, client = {"Authorization": f"Bearer {token}"}, app.test_client()
    body: dict[str, Any] = {"reason": "ticket 71"}
    if mode == "operator-key":
        body = {"request": request(key, letter, now=int(time.time()))}
    enforcer.role = "api"
    asked = client.post(f"/v1/ops/letters/{letter}/reveal", json=body, headers=headers)
    assert asked.status_code == 202, asked.json
    enforcer.role = "worker"
    with revealing(app, lane="default") as worker:
        assert worker.once()
    enforcer.role = "api"
    shown = client.get(asked.headers["Location"], headers=headers).get_json()
    assert ("sealed" if mode == "operator-key" else "payload") in shown, shown
    assert client.get("/v1/ops/audit", headers=headers).status_code == 200
    enforcer.role = None
    services.runtime.close()
    assert enforcer.refused == []
    assert {"dynamodb:PutItem", "dynamodb:UpdateItem"} <= enforcer.used["worker"]
    lines = services.letters.audit.page()[0]
    assert [line.verb for line in lines][:2] == ["letter.reveal", "reveal.ask"]


def test_the_api_plans_and_starts_replays_with_its_own_rights(settings, enforcer):
    app = create_app(settings)
    services = app.extensions["sealwax"]
    letter = archived(app, "6" * 32, {"n": 1})
    token = services.tokens.issue(tenant="ops", scopes=["ops:read", "ops:write"]).token
    headers, client = (
        {"Authorization": f"Bearer {token}", "Idempotency-Key": "k"},
        app.test_client(),
    )
    enforcer.role = "api"
    body = {"ids": [letter], "mode": "start", "reason": "mended"}
    for _ in range(2):  # a repeat is the same replay
        made = client.post("/v1/ops/replays", json=body, headers=headers)
        assert made.status_code < 300, made.json
    path = f"/v1/ops/replays/{made.get_json()['id']}"
    for verb in ("pause", "resume", "cancel"):
        assert client.post(f"{path}/{verb}", headers=headers).status_code < 300
    assert client.get(f"{path}/letters", headers=headers).status_code == 200
    for read in (f"letters/{letter}", f"letters/{letter}/body", "groups", "letters", "replays"):
        assert client.get(f"/v1/ops/{read}", headers=headers).status_code == 200, read
    enforcer.role = None
    services.runtime.close()
    assert enforcer.refused == []


def test_a_worker_passes_its_start_up_checks_of_its_lane(settings, enforcer):
    queue, dead = settings.queue_name("default"), settings.dead_letter_queue_name("default")
    engine = Engine(TransportOptions.parse({"queues": {queue: {"dead_letter_queue": dead}}}))
    enforcer.role = "worker"
    check_queue(engine, queue)
    assert enforcer.refused == []
    assert {"sqs:DeleteMessage", "sqs:ChangeMessageVisibility"} <= enforcer.used["worker"]


@pytest.mark.parametrize(
    ("role", "foreign"),
    [
        ("worker", ["api/keys", "api/token-key", "worker/slow/keys"]),
        ("api", ["worker/keys", "worker/default/keys", "app/webhooks/closed"]),
    ],
)
def test_a_role_is_refused_the_other_roles_secrets(settings, enforcer, role, foreign):
    enforcer.role = role
    source = make_source(settings, Aws())
    for name in foreign:
        with pytest.raises(SecretAccessDenied):
            source.get(name)
    assert source.get("worker/default/keys" if role == "worker" else "api/keys")


def test_neither_role_may_put_a_secret(settings, enforcer):
    for role in ("api", "worker"):
        enforcer.role = role
        with pytest.raises(SecretAccessDenied):
            make_source(settings, Aws()).put(f"{role}/keys", "{}")
        with pytest.raises(SecretAccessDenied):
            make_source(settings, Aws()).put("shared/keyring", "{}")
