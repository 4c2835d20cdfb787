"""What somebody who writes to the queue cannot do to jobs: end them, hasten them, hide them.

Each test plays one attack by the id of a job whose genuine message comes later,
or had come before.
"""

from __future__ import annotations

from typing import Any

import pytest
from support.attacker import digest_of, garbage
from support.stack import LiveStack
from support.waiting import wait_for

#: Celery itself fails on a keyword of this name, before any code of ours runs.
UNCALLABLE = {"self": 1}


def entry(stack: LiveStack, job: str) -> dict[str, Any]:
    """Return a job's ledger entry, plain."""
    return {name: next(iter(value.values())) for name, value in stack.ledger_item(job).items()}


def fail(siege: Any, route: str, status: int, **more: Any) -> None:
    """Have the downstream refuse a route, as often as it is asked."""
    siege.attacker.downstream(route, {"fail": {"status": status, **more}})


def object_keys(siege: Any, job: str) -> list[str]:
    """Return what the bucket holds of a job."""
    s3, bucket = siege.stack.client("s3"), siege.bucket
    answer = s3.list_objects_v2(Bucket=bucket)
    return [item["Key"] for item in answer.get("Contents", []) if f"/{job}/" in item["Key"]]


def test_a_forged_letter_does_not_take_a_jobs_place(siege) -> None:
    stack, attacker, victim = siege.stack, siege.attacker, siege.steal()
    fail(siege, victim.route, 400)
    forged = victim.message.changed(args=["FORGED"], kwargs=UNCALLABLE)
    attacker.put(forged)
    assert attacker.letter_of(forged)["says"]["reason"] == "stray"
    attacker.put(victim.message)
    assert stack.wait(victim.job)["state"] == "dead"
    letter = attacker.letter_of(victim.message)
    assert letter["says"]["reason"] == "rejected"
    # The job's own letter has the place of the job, and its own body.
    (own,) = [
        item
        for item in stack.items("letters")
        if item["id"]["S"] == victim.job and item["sort"]["S"] == "body.0"
    ]
    assert digest_of(bytes(own["body"]["B"])) == digest_of(victim.message)


def test_a_reference_in_garbage_costs_no_payload(siege) -> None:
    stack, attacker, victim = siege.stack, siege.attacker, siege.steal(big=True)
    before = object_keys(siege, victim.job)
    assert before
    strays = [
        victim.message.changed(kwargs=UNCALLABLE),
        victim.message.changed(embed={"callbacks": [{"task": "webhooks.relay"}]}),
        victim.message.changed(headers={"task": "no.such_task"}),
        victim.message.changed(headers={"id": siege.small[-1].job}),
    ]
    attacker.put(*strays)
    for stray in strays:
        assert attacker.letter_of(stray)["says"]["reason"] == "stray"
    assert object_keys(siege, victim.job) == before
    attacker.put(victim.message)
    assert stack.wait(victim.job)["state"] == "succeeded"


@pytest.mark.long
def test_copies_burn_no_retries(siege) -> None:
    stack, attacker, victim = siege.stack, siege.attacker, siege.steal()
    fail(siege, victim.route, 429, retry_after="3600")
    attacker.put(victim.message)
    waits = stack.wait(victim.job, "retrying")
    assert waits["attempts"] == 1
    before = entry(stack, victim.job)
    strays = [
        victim.message.changed(args=["FORGED"], kwargs=UNCALLABLE),
        victim.message.changed(headers={"task": "no.such_task"}),
        victim.message.changed(headers={"retries": -1}),
        garbage(victim.job),
    ]
    for stray in strays:
        attacker.put(stray)
        attacker.letter_of(stray)
        attacker.put(victim.message)
    attacker.put(
        victim.message.changed(headers={"retries": 7, "eta": "2020-01-01T00:00:00+00:00"}),
        victim.message.changed(headers={"expires": "2020-01-01T00:00:00+00:00"}),
    )
    copies = len(strays) + 2

    def met() -> bool:
        lines = [line for line in stack.log("worker").splitlines() if "not due yet" in line]
        return sum(victim.job in line for line in lines) >= copies

    wait_for(met, seconds=30, what="each copy is met")
    assert entry(stack, victim.job) == before
    assert attacker.received(victim.route) == 1


def test_headers_of_garbage_neither_wait_nor_hide(siege) -> None:
    stack, attacker, victim = siege.stack, siege.attacker, siege.steal()
    before = entry(stack, victim.job)
    facts: list[dict[str, Any]] = [
        {"eta": "9990-01-01T00:00:00+00:00"},
        {"eta": "9990-01-01T00:00:00+00:00", "expires": "9990-01-02T00:00:00+00:00"},
        {"generation": 10**9},
        {"generation": 10**40},
        {"generation": True},
    ]
    strays = [garbage(victim.job, **headers) for headers in facts]
    attacker.put(*strays)
    for stray in strays:
        assert attacker.letter_of(stray)["says"]["reason"] == "stray"
    # What is kept for later would stand for the job where a sweep looks for it.
    assert [item for item in stack.items("outbox") if victim.job in str(item)] == []
    assert entry(stack, victim.job) == before
    attacker.put(victim.message)
    assert stack.wait(victim.job)["attempts"] == 1


def test_headers_of_a_genuine_message_have_no_power(siege) -> None:
    stack, attacker = siege.stack, siege.attacker
    link = {"task": "webhooks.relay", "args": [], "kwargs": {}, "options": {}}
    facts: list[dict[str, Any]] = [
        {"eta": "9990-01-01T00:00:00+00:00", "retries": 2**31 - 1},
        {"expires": "2020-01-01T00:00:00+00:00"},
        {"timelimit": [1e-9, 1e-9], "ignore_result": False},
    ]
    jobs = []
    for headers in facts:
        victim = siege.steal()
        message = victim.message.changed(headers=headers)
        message.body["properties"] |= {"reply_to": "x", "priority": 255}
        attacker.put(message)
        jobs.append(victim)
    linked = siege.steal()
    stray = linked.message.changed(embed={"callbacks": [link], "errbacks": [link]})
    attacker.put(stray)
    for victim in jobs:
        assert stack.wait(victim.job)["state"] == "succeeded"
        assert stack.job(victim.job)["attempts"] == 1
    assert attacker.letter_of(stray)["says"]["cause"] == "not-sealed"
    attacker.put(linked.message)
    assert stack.wait(linked.job)["state"] == "succeeded"


@pytest.mark.long
def test_garbage_shows_no_owner_a_final_state(siege) -> None:
    stack, attacker, victim = siege.stack, siege.attacker, siege.steal()
    before = stack.job(victim.job)
    for stray in (
        garbage(victim.job),
        garbage(victim.job, task="no.such_task"),
        victim.message.changed(kwargs=UNCALLABLE),
    ):
        attacker.put(stray)
        attacker.letter_of(stray)
    assert stack.job(victim.job) == before
    # Its owner may still cancel it, and that is what it ends with.
    assert stack.request("DELETE", f"/v1/jobs/{victim.job}").status_code < 300
    attacker.put(garbage(victim.job, lang="x"), victim.message)
    assert stack.wait(victim.job)["state"] == "cancelled"
    assert attacker.received(victim.route) == 0


def test_garbage_ends_no_job_past_its_expiry(siege) -> None:
    stack, attacker = siege.stack, siege.attacker
    victim = siege.steal()
    past = {"run_before": {"N": "1"}}
    siege.rewrite(victim.job, past)
    stray = garbage(victim.job)
    attacker.put(stray)
    attacker.letter_of(stray)
    assert entry(stack, victim.job)["state"] == "accepted"
    attacker.put(victim.message)
    assert stack.wait(victim.job)["state"] == "expired"


def test_garbage_buries_no_job_whose_workers_were_lost(siege) -> None:
    stack, attacker, victim = siege.stack, siege.attacker, siege.steal()
    siege.rewrite(victim.job, {"suspicions": {"N": "2"}, "crashes": {"N": "2"}})
    for stray in (garbage(victim.job), victim.message.changed(kwargs=UNCALLABLE)):
        attacker.put(stray)
        attacker.letter_of(stray)
    found = entry(stack, victim.job)
    assert (found["state"], found["suspicions"], found["crashes"]) == ("accepted", "2", "2")
    attacker.put(victim.message)
    assert stack.wait(victim.job)["state"] == "succeeded"


def test_invented_task_names_are_set_aside_and_run_nothing(siege) -> None:
    stack, attacker, victim = siege.stack, siege.attacker, siege.steal()
    before = entry(stack, victim.job)
    strays = [
        victim.message.changed(headers={"task": f"no.such_task_{number}"}) for number in range(30)
    ]
    attacker.put(*strays)
    for stray in strays:
        assert attacker.letter_of(stray)["says"]["cause"] == "unknown-task"
    assert entry(stack, victim.job) == before
    attacker.put(victim.message)
    assert stack.wait(victim.job)["state"] == "succeeded"
