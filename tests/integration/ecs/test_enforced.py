"""The API and a worker at work under the templates' policies, each call checked.

moto's own enforcement looks at actions alone. So each call is checked before it
leaves, by the role's policy and, for KMS, the key's: action, resource and
conditions. What is refused fails as AWS would fail it.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from support.templates import ACCOUNT, REGION, Request, Stack, allows

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


class Enforcer:
    """Checks each call of each client against the policies of the current role."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        environment = {"Environment": settings.environment}
        self.data = Stack("data", environment)
        queues = Stack("queues", environment)
        cluster = Stack("cluster", environment)
        imports = {**self.data.exports, **queues.exports, **cluster.exports}
        lane = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{settings.queue_name('default')}"
        self.stacks = {
            "api": Stack("api", {**environment, "LaneQueueArns": [lane]}, imports),
            "worker": Stack("worker", environment, imports),
        }
        self.role: str | None = None
        self.used: dict[str, set[str]] = {"api": set(), "worker": set()}
        self.refused: list[str] = []

    def attach(self, client: Any) -> None:
        if client.meta.service_model.service_name == "sqs":
            # The transport's requests are made without the client's models: seen as they leave.
            client.meta.events.register("before-send.sqs", self._check_sent)
        else:
            client.meta.events.register("provide-client-params", self._check_called)

    def _check_called(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self._check(model.service_model.service_name, model.name, params)

    def _check_sent(self, request: Any, event_name: str, **_: Any) -> None:
        self._check("sqs", event_name.rpartition(".")[2], json.loads(request.body))

    def _check(self, service: str, operation: str, params: dict[str, Any]) -> None:
        if self.role is None:
            return
        for request in self._requests(service, operation, params):
            self.used[self.role].add(request.action)
            if not self._allowed(request):
                self.refused.append(f"{request.action} {request.resource}")
                raise ClientError(
                    {
                        "Error": {"Code": "AccessDeniedException", "Message": request.action},
                        "ResponseMetadata": {"HTTPStatusCode": 400},
                    },
                    operation,
                )

    def _allowed(self, request: Request) -> bool:
        assert self.role is not None
        role = self.stacks[self.role].resources["TaskRole"]["Properties"]
        request.context["aws:PrincipalArn"] = f"arn:aws:iam::{ACCOUNT}:role/{role['RoleName']}"
        if not allows(role["Policies"][0]["PolicyDocument"]["Statement"], request):
            return False
        if not request.action.startswith("kms:"):
            return True
        key = self.data.resources[request.resource.rpartition("/")[2]]["Properties"]
        return allows(key["KeyPolicy"]["Statement"], request)

    def _requests(self, service: str, operation: str, params: dict[str, Any]) -> Iterator[Request]:
        arn = f"arn:aws:{service}:{REGION}:{ACCOUNT}:"
        if service == "sqs":
            name = params.get("QueueName") or params["QueueUrl"].rpartition("/")[2]
            yield Request(f"sqs:{operation.removesuffix('Batch')}", arn + name)
        elif service == "dynamodb":
            context = {}
            if params["TableName"] == self.settings.table_name("secrets"):
                value = (params.get("Key") or {}).get("name") or params.get(
                    "ExpressionAttributeValues", {}
                ).get(":name")
                found = value["S"] if isinstance(value, dict) else value
                context = {"dynamodb:LeadingKeys": [found]} if found else {}
            if params["TableName"] == self.settings.table_name("control"):
                value = (params.get("Key") or params.get("Item") or {}).get("kind") or params[
                    "ExpressionAttributeValues"
                ][":kind"]
                context = {"dynamodb:LeadingKeys": [value["S"]]}
            yield Request(f"dynamodb:{operation}", f"{arn}table/{params['TableName']}", context)
        elif service == "kms":
            given = params["EncryptionContext"]
            owner = given["name"].split("/")[0].replace("app", "worker")
            context = {f"kms:EncryptionContext:{name}": value for name, value in given.items()}
            yield Request(f"kms:{operation}", f"{arn}key/{owner.capitalize()}Key", context)
        elif operation == "ListObjectsV2":
            yield Request("s3:ListBucket", f"arn:aws:s3:::{params['Bucket']}")
        elif operation == "CopyObject":
            source = params["CopySource"]
            yield Request("s3:GetObject", f"arn:aws:s3:::{source['Bucket']}/{source['Key']}")
            yield Request("s3:PutObject", f"arn:aws:s3:::{params['Bucket']}/{params['Key']}")
        else:
            yield Request(f"s3:{operation}", f"arn:aws:s3:::{params['Bucket']}/{params['Key']}")


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
    made = Enforcer(settings)
    original = Aws._make

    def make(self: Aws, kind: str, service: str, overrides: dict[str, Any]) -> Any:
        known = len(self._clients)
        client = original(self, kind, service, overrides)
        if len(self._clients) > known:
            made.attach(client.meta.client if kind == "resource" else client)
        return client

    monkeypatch.setattr(Aws, "_make", make)
    return made


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
