"""`customers.sync` and `exports.build` against the sandbox, with their failures."""

from __future__ import annotations

import csv
import hashlib
import io
import json

import pytest
import requests
from support.stack import LiveStack
from support.waiting import wait_for


def sections(port: int) -> str:
    rule = f'{{cidrs = ["127.0.0.1/32"], schemes = ["http"], ports = [{port}], '
    rule += "connect = 1, read = 1, total = 2}"
    base = f"http://127.0.0.1:{port}"
    return f"""
[tasks.customers]
internal_url = "{base}/internal/customers/{{id}}"
internal_rule = {rule}
crm_url = "{base}/crm/contacts/{{id}}"
crm_rule = {rule}

[tasks.exports]
bucket = "sealwax-acceptance-payloads"

[retry."customers.sync"]
attempts = 3
base = 0.1
"""


@pytest.fixture(scope="module")
def own(make_stack) -> LiveStack:
    # Relays of 20 MiB: the default is 1 MiB for tasks that declare no more.
    extra = "[limits]\nrequest_bytes = 34_000_000\n"
    return make_stack(routes={"demo": {}}, sections=sections, extra=extra)


def control(stack: LiveStack, where: str, what: dict | None) -> None:
    url = f"{stack.sandbox_url}/control/{where}"
    answer = requests.put(url, json=what, timeout=10) if what else requests.delete(url, timeout=10)
    assert answer.ok, answer.text


def sync(stack: LiveStack, customer: str) -> requests.Response:
    return stack.request(
        "POST",
        "/v1/jobs",
        json={"task": "customers.sync", "payload": {"customer_id": customer}},
        headers={"Idempotency-Key": f"sync-{customer}"},
    )


def test_a_customer_reaches_the_crm_normalised(own: LiveStack) -> None:
    answer = sync(own, "7")
    assert answer.status_code == 202, answer.text
    job = answer.json()["id"]
    document = own.wait(job)
    assert document["state"] == "succeeded", document
    internal = requests.get(f"{own.sandbox_url}/internal/customers/7", timeout=10).json()
    contact = requests.get(f"{own.sandbox_url}/crm/contacts/7", timeout=10).json()
    assert contact["id"] == internal["id"]
    if "phone" not in document["result"]["dropped"]:
        assert contact["phone"].startswith("+")
    # A repeat of the accepted request needs no internal system.
    control(own, "internal/customers/7", {"fail": {"status": 500}})
    repeat = sync(own, "7")
    assert (repeat.status_code, repeat.json()["id"]) == (202, job)


@pytest.mark.parametrize(
    ("what", "status", "name"),
    [
        ({"fail": {"status": 404}}, 422, "reference-not-found"),
        ({"fail": {"status": 500}}, 503, "system-unavailable"),
        ({"hang": 20}, 503, "system-unavailable"),
        ({"garbage": True}, 503, "system-unavailable"),
        ({"reset": True}, 503, "system-unavailable"),
    ],
)
def test_an_internal_system_that_fails_leaves_nothing_half_done(
    own: LiveStack, what: dict, status: int, name: str
) -> None:
    customer = str(100 + status + len(str(what)))
    control(own, f"internal/customers/{customer}", what)
    before = len(own.items("jobs"))
    answer = sync(own, customer)
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert document["type"].endswith(name)
    assert document["system"] == "customers"
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert len(own.items("jobs")) == before
    control(own, f"internal/customers/{customer}", None)
    assert own.wait(sync(own, customer).json()["id"])["state"] == "succeeded"


def test_a_crm_that_fails_once_is_tried_again(own: LiveStack) -> None:
    control(own, "crm/contacts/55", {"fail": {"status": 503, "times": 1}})
    document = own.wait(sync(own, "55").json()["id"])
    assert (document["state"], document["attempts"]) == ("succeeded", 2)


def test_an_export_is_in_the_bucket_with_its_digest(own: LiveStack) -> None:
    records = [{"n": n, "text": f"=SUM({n})", "name": "Żółć"} for n in range(2_500)]
    job = own.submit("exports.build", {"format": "csv", "records": records})
    document = own.wait(job)
    assert document["state"] == "succeeded", document
    result = document["result"]
    assert result["rows"] == 2_500
    body = own.client("s3").get_object(Bucket=result["bucket"], Key=result["key"])["Body"].read()
    assert hashlib.sha256(body).hexdigest() == result["sha256"]
    assert len(body) == result["bytes"]
    rows = list(csv.DictReader(io.StringIO(body.decode("utf-8-sig"))))
    assert len(rows) == 2_500
    assert not any(row["text"].startswith("=") for row in rows)


def test_a_payload_of_20_mib_runs_and_its_object_goes_with_success(own: LiveStack) -> None:
    s3 = own.client("s3")

    def objects(prefix: str) -> list[str]:
        page = s3.list_objects_v2(Bucket="sealwax-acceptance-payloads", Prefix=prefix)
        return [item["Key"] for item in page.get("Contents", [])]

    own.stop_worker()
    text = "payload " * (20 * 1024 * 1024 // 8)
    job = own.relay("demo", {"text": text})
    assert len(objects(f"live/{job}/")) == 1
    stored = s3.get_object(Bucket="sealwax-acceptance-payloads", Key=objects(f"live/{job}/")[0])
    assert b"payload payload" not in stored["Body"].read()
    own.start_worker()
    assert own.wait(job, seconds=120)["state"] == "succeeded"
    wait_for(lambda: not objects(f"live/{job}/"), what="the object's end")
    assert not objects(f"dead/{job}/")


def test_a_big_payload_is_kept_after_death(own: LiveStack) -> None:
    control(own, "demo", {"fail": {"status": 400}})
    job = own.relay("demo", {"text": "x" * 300_000})
    assert own.wait(job)["state"] == "dead"
    own.dead_letter_of(job)
    page = own.client("s3").list_objects_v2(Bucket="sealwax-acceptance-payloads", Prefix="dead/")
    assert [item["Key"].split("/")[1] for item in page["Contents"]] == [job]
    control(own, "demo", None)


def test_the_message_limit_holds_at_its_edge(own: LiveStack) -> None:
    """Just below it travels in the message, just above it in the bucket."""
    own.stop_worker()
    for size in (190_000, 200_000):
        own.relay("demo", "x" * size)
    sqs = own.client("sqs")
    bodies: dict[str, int] = {}

    def both() -> bool:
        answer = sqs.receive_message(
            QueueUrl=own.queue_url(), MaxNumberOfMessages=10, VisibilityTimeout=1
        )
        for message in answer.get("Messages", []):
            bodies[message["MessageId"]] = len(message["Body"])
            assert len(message["Body"]) <= 262_144
        return len(bodies) >= 2

    wait_for(both, seconds=60, what="both messages")
    assert sorted(size > 100_000 for size in bodies.values()) == [False, True]
    own.start_worker()


def test_what_is_larger_than_the_payload_limit_is_413(own: LiveStack) -> None:
    body = json.dumps(
        {"task": "webhooks.relay", "payload": {"event": "x", "body": "y" * 33_900_000}}
    )
    answer = own.request(
        "POST", "/v1/jobs", data=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413
    assert answer.json()["limit"] == 33_554_432
