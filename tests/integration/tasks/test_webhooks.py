"""`webhooks.relay` against the sandbox."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pytest
import requests

from sealwax.egress import OutgoingClient
from sealwax.job import Job, LeaseLost
from sealwax.local.sandbox import Sandbox
from sealwax.outcomes import Rejected, Transient
from sealwax.settings import Settings
from tasks.webhooks import WebhookRelay, deliver

DATA = Path(__file__).parents[2] / "data" / "github-webhooks.jsonl.gz"
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
JOB = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def sandbox(tmp_path):
    with Sandbox(tmp_path, secret=SECRET) as running:
        yield running


# A loaded machine must not be taken for a receiver that hangs; where one hangs, it is waited
# for briefly.
PATIENT = {"connect": 10, "read": 10, "total": 20}
BRIEF = {"connect": 1, "read": 0.5, "total": 1}


def job_for(sandbox, *, checker=None, secret=SECRET, url=None, times=PATIENT, **route):
    fields = {
        "url": url or f"{sandbox.url}/hooks/demo",
        "secret": "app/webhooks/demo",
        "rule": {
            "schemes": ["http"],
            "cidrs": ["127.0.0.0/8"],
            "ports": [sandbox.port],
            **times,
        },
    } | route
    extra = {"checker": checker} if checker else {}
    return Job(
        id=JOB,
        task="webhooks.relay",
        tenant="00",
        attempt=1,
        accepted_at=0.0,
        settings=Settings(tasks={"webhooks": {"routes": {"demo": fields}}}),
        secrets={"app/webhooks/demo": secret},
        **extra,
    )


def run(job, body=None, event="push", route="demo"):
    payload = WebhookRelay(route=route, event=event, body={"a": 1} if body is None else body)
    return deliver(payload, job, OutgoingClient())


def control(sandbox, what, name="demo"):
    requests.put(f"{sandbox.url}/control/{name}", json=what, timeout=5).raise_for_status()


def test_a_delivery_is_signed_and_carries_the_job_id(sandbox):
    done = run(job_for(sandbox))
    (seen,) = sandbox.deliveries.read()
    assert (done.status, done.bytes) == (200, 7)
    assert seen["signature_ok"] is True
    assert seen["idempotency_key"] == seen["headers"]["webhook-id"] == JOB
    assert seen["headers"]["webhook-event"] == "push"
    assert seen["headers"]["content-type"] == "application/json"
    assert json.loads(seen["body"]) == {"a": 1}


def test_a_signature_of_another_secret_is_seen(sandbox):
    other = "whsec_" + base64.b64encode(b"x" * 24).decode()
    run(job_for(sandbox, secret=other))
    (seen,) = sandbox.deliveries.read()
    assert seen["signature_ok"] is False


def test_the_transformation_is_what_is_delivered(sandbox):
    run(job_for(sandbox, transform="{number: a}"))
    (seen,) = sandbox.deliveries.read()
    assert seen["body"] == '{"number":1}'


def test_the_263_real_bodies_arrive_as_the_same_values(sandbox):
    with gzip.open(DATA, "rt") as file:
        lines = [json.loads(line) for line in file]
    job = job_for(sandbox)
    for line in lines:
        run(job, body=line["body"], event=line["event"])
    seen = list(sandbox.deliveries.read(limit=1_000))
    assert [json.dumps(json.loads(one["body"])) for one in seen] == [
        json.dumps(line["body"]) for line in lines
    ]
    assert [one["headers"]["webhook-event"] for one in seen] == [line["event"] for line in lines]
    assert all(one["signature_ok"] for one in seen)


def test_503_twice_then_success(sandbox):
    control(sandbox, {"fail": {"status": 503, "times": 2, "retry_after": 1}})
    job = job_for(sandbox)
    for _ in range(2):
        with pytest.raises(Transient) as caught:
            run(job)
        assert (caught.value.cause, caught.value.retry_after) == ("downstream-503", 1)
    assert run(job).status == 200
    assert sandbox.deliveries.count() == {
        "received": 3,
        "succeeded": 1,
        "keys": 1,
        "keys_succeeded": 1,
    }


@pytest.mark.parametrize(
    ("what", "kind", "cause"),
    [
        ({"fail": {"status": 400}}, Rejected, "downstream-400"),
        ({"fail": {"status": 429}}, Transient, "downstream-429"),
        ({"redirect": "http://127.0.0.1:9/"}, Rejected, "redirect-refused"),
        ({"hang": 5}, Transient, "downstream-timeout"),
        ({"garbage": True}, Transient, "downstream-garbage"),
        ({"reset": True}, Transient, "downstream-reset"),
    ],
)
def test_failures_of_the_downstream(sandbox, what, kind, cause):
    control(sandbox, what)
    with pytest.raises(kind) as caught:
        run(job_for(sandbox, times=BRIEF if "hang" in what else PATIENT))
    assert caught.value.cause == cause


@pytest.mark.parametrize("what", [{"slow": {"bytes_per_second": 1}}, {"big": 5_000_000}])
def test_once_the_status_says_success_the_body_does_not_matter(sandbox, what):
    control(sandbox, what)
    assert run(job_for(sandbox)).status == 200


def test_an_unknown_route_is_rejected(sandbox):
    with pytest.raises(Rejected) as caught:
        run(job_for(sandbox), route="other")
    assert caught.value.cause == "unknown-route"


def test_loopback_is_refused_unless_its_network_is_listed(sandbox):
    rule = {"schemes": ["http"], "ports": [sandbox.port], "hosts": ["localhost"]}
    job = job_for(sandbox, url=f"http://localhost:{sandbox.port}/hooks/demo", rule=rule)
    with pytest.raises(Rejected) as caught:
        run(job)
    assert caught.value.cause == "address-refused"
    assert sandbox.deliveries.count()["received"] == 0


@pytest.mark.parametrize("secret", ["whsec_", "whsec_a", ""])
def test_an_unusable_secret_keeps_the_job(sandbox, secret):
    with pytest.raises(Transient) as caught:
        run(job_for(sandbox, secret=secret))
    assert caught.value.cause == "secret-unusable"


def test_a_lost_lease_sends_nothing(sandbox):
    def lost():
        raise LeaseLost

    with pytest.raises(LeaseLost):
        run(job_for(sandbox, checker=lost))
    assert sandbox.deliveries.count()["received"] == 0
