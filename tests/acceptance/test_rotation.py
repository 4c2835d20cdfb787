"""Keys are rotated and retired under load without a drain."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from support.stack import LiveStack
from support.waiting import wait_for


def seal_keys(stack: LiveStack, role: str) -> dict[str, str]:
    rows = json.loads(stack.cli("keys", "list", "--json").stdout)
    return {r["id"]: r["state"] for r in rows if r["role"] == role and r["kind"] == "seal"}


def relay_many(stack: LiveStack, count: int) -> list[str]:
    """Submit jobs, as several callers do."""
    with ThreadPoolExecutor(4) as callers:
        return list(callers.map(lambda n: stack.relay("demo", {"n": n}), range(count)))


@pytest.mark.long
@pytest.mark.parametrize("each", [15, pytest.param(100, marks=pytest.mark.slow)])
def test_keys_rotate_while_jobs_are_queued(make_stack, each: int) -> None:
    stack: LiveStack = make_stack(routes={"demo": {}}, extra="[limits]\nunknown_key_seconds = 2\n")
    stack.stop_worker()
    (old,) = seal_keys(stack, "worker")
    jobs = relay_many(stack, each)
    stack.cli("keys", "rotate", "--role", "worker")
    keys = seal_keys(stack, "worker")
    assert keys[old] == "open"
    assert sorted(keys.values()) == ["active", "open"]
    new = next(key for key, state in keys.items() if state == "active")
    stack.signal("api", signal.SIGHUP)  # it reads the new key now rather than by its timer

    def sealed_to_the_new_key() -> bool:
        job = stack.relay("demo", {"probe": True})
        probes.append(job)
        return stack.ledger_item(job)["recipient"]["S"] == new

    probes: list[str] = []
    wait_for(sealed_to_the_new_key, what="a job sealed to the new key")
    jobs += relay_many(stack, each)

    refused = stack.cli("keys", "retire", old, "--yes", check=False)
    assert refused.returncode == 1
    waiting = each + len(probes) - 1
    assert f"{waiting} open jobs" in refused.stderr

    # Kept back: a copy of a message that is sealed to the old key.
    sqs, url = stack.client("sqs"), stack.queue_url()
    taken = wait_for(
        lambda: sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1, VisibilityTimeout=1).get(
            "Messages"
        ),
        seconds=60,
        what="a message",
    )[0]
    stack.start_worker()
    for job in jobs + probes:
        assert stack.wait(job, seconds=120)["state"] == "succeeded"
    delivered = requests.get(
        f"{stack.sandbox_url}/deliveries/count", params={"path": "/hooks/demo"}, timeout=10
    ).json()
    assert delivered["keys_succeeded"] == 2 * each + len(probes)

    dry = stack.cli("keys", "retire", old)
    assert "nothing was changed" in dry.stdout
    assert old in seal_keys(stack, "worker")
    stack.cli("keys", "retire", old, "--yes")
    assert old not in seal_keys(stack, "worker")

    seen = stack.log("worker").count("secrets refreshed")
    stack.signal("worker", signal.SIGHUP)
    wait_for(
        lambda: stack.log("worker").count("secrets refreshed") > seen, what="a refreshed worker"
    )
    sqs.send_message(QueueUrl=url, MessageBody=taken["Body"])
    job = json.loads(taken["Body"])["headers"]["id"]
    letter = stack.dead_letter_of(job, seconds=60)
    # A copy of a message whose job has ended well: set aside, and nothing else.
    assert (letter["reason"], letter["cause"]) == ("stray", "job-not-dead")
    assert stack.job(job)["state"] == "succeeded"  # its outcome stands
