"""The main job on real input, seen from outside: HTTP, queues, tables, logs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import requests
from support.stack import LiveStack
from support.waiting import wait_for

WEBHOOKS = Path(__file__).parent.parent / "data" / "github-webhooks.jsonl.gz"


def control(stack: LiveStack, route: str, what: dict) -> None:
    answer = requests.put(f"{stack.sandbox_url}/control/{route}", json=what, timeout=10)
    assert answer.ok, answer.text


def deliveries(stack: LiveStack, route: str) -> list[dict]:
    found: list[dict] = []
    after = 0
    while True:
        page = requests.get(
            f"{stack.sandbox_url}/deliveries",
            params={"path": f"/hooks/{route}", "limit": 1000, "after": after},
            timeout=10,
        ).json()["deliveries"]
        if not page:
            return found
        found += page
        after = page[-1]["n"]


def test_real_webhooks_arrive_once_with_equal_bodies(stack: LiveStack) -> None:
    done = stack.cli("submit", "webhooks.relay", "--file", str(WEBHOOKS), "--wait")
    assert "263 succeeded" in done.stdout, done.stdout + done.stderr
    with gzip.open(WEBHOOKS, "rt", encoding="utf-8") as file:
        sent = [json.loads(line)["body"] for line in file]
    got = [json.loads(delivery["body"]) for delivery in deliveries(stack, "demo")]
    assert len(got) == 263

    def canonical(values: list) -> list[str]:
        return sorted(json.dumps(value, sort_keys=True) for value in values)

    assert canonical(got) == canonical(sent)


def test_unusual_values_arrive_as_they_were_sent(stack: LiveStack) -> None:
    body = {
        "big": 12345678901234567890123456789,
        "negative": -0.0,
        "small": 5e-324,
        "large": 1.7976931348623157e308,
        "tenth": 0.1,
        "text": 'Zażółć 漢字 🦭 \u0000 \u2028 \\ "',
        "empty": {"": [[], {}, None, True, False, ""]},
    }
    job = stack.relay("r0", body)
    assert stack.wait(job)["state"] == "succeeded"
    (delivery,) = deliveries(stack, "r0")
    assert json.loads(delivery["body"]) == body
    assert delivery["idempotency_key"] == job
    assert delivery["signature_ok"] is True
    headers = {name.lower(): value for name, value in delivery["headers"].items()}
    assert headers["webhook-id"] == job


def test_a_downstream_that_recovers_gets_it_on_the_third_attempt(stack: LiveStack) -> None:
    control(stack, "r1", {"fail": {"status": 503, "times": 2, "retry_after": 1}})
    job = stack.relay("r1", {"a": 1})
    document = stack.wait(job)
    assert (document["state"], document["attempts"]) == ("succeeded", 3)
    assert document["result"] == {"status": 200, "bytes": 7}
    assert len(deliveries(stack, "r1")) == 3


def test_a_downstream_that_refuses_ends_the_job_at_once(stack: LiveStack) -> None:
    control(stack, "r2", {"fail": {"status": 400}})
    job = stack.relay("r2", {"a": 1})
    document = stack.wait(job)
    assert (document["state"], document["attempts"]) == ("dead", 1)
    assert document["error"] == {
        "reason": "rejected",
        "cause": "downstream-400",
        "class": "Rejected",
    }
    letter = stack.dead_letter_of(job)
    assert letter["reason"] == "rejected"
    assert letter["error"] == "Rejected"
    assert letter["attempts"] == 1
    assert letter["queue"].endswith("_default")
    assert letter["at_ms"] > 1_600_000_000_000
    assert len(deliveries(stack, "r2")) == 1


def test_a_downstream_that_never_recovers_exhausts_the_attempts(make_stack) -> None:
    stack = make_stack(
        routes={"down": {}}, extra='[retry."webhooks.relay"]\nattempts = 4\nbase = 0.2'
    )
    control(stack, "down", {"fail": {"status": 503}})
    job = stack.relay("down", {"a": 1})
    document = stack.wait(job)
    assert (document["state"], document["attempts"]) == ("dead", 4)
    assert document["error"]["reason"] == "exhausted"
    assert document["error"]["cause"] == "downstream-503"
    letter = stack.dead_letter_of(job)
    assert (letter["reason"], letter["attempts"]) == ("exhausted", 4)
    assert len(deliveries(stack, "down")) == 4


def test_a_worker_that_is_killed_loses_nothing(make_stack) -> None:
    stack = make_stack(routes={"slow": {}}, lane="lease = 3")
    control(stack, "slow", {"hang": 30, "times": 1})
    job = stack.relay("slow", {"a": 1})
    stack.wait(job, "running")
    wait_for(lambda: deliveries(stack, "slow"), what="the hanging delivery")
    stack.kill_worker()
    stack.start_worker()
    document = stack.wait(job, seconds=90)
    # A lost worker says nothing against the job: the attempt is given back.
    assert (document["state"], document["attempts"]) == ("succeeded", 1)


def test_a_stopped_worker_finishes_what_runs_and_gives_back_the_rest(make_stack) -> None:
    stack = make_stack(routes={"slow": {}, "quick": {}})
    control(stack, "slow", {"hang": 3})
    jobs = [stack.relay("slow", {"n": n}) for n in range(8)]
    wait_for(lambda: len(deliveries(stack, "slow")) >= 2, what="two running jobs")
    assert stack.stop_worker() == 0
    states = [stack.job(job)["state"] for job in jobs]
    assert "running" not in states, states
    sqs = stack.client("sqs")
    attributes = sqs.get_queue_attributes(QueueUrl=stack.queue_url(), AttributeNames=["All"])[
        "Attributes"
    ]
    assert attributes["ApproximateNumberOfMessagesNotVisible"] == "0"
    requests.delete(f"{stack.sandbox_url}/control", timeout=10)
    stack.start_worker()
    assert {stack.wait(job)["state"] for job in jobs} == {"succeeded"}
