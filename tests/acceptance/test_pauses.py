"""Operators pause a lane and a task, and drain a worker: nothing runs, and no attempt is lost."""

from __future__ import annotations

import pytest
from support.stack import LiveStack
from support.waiting import wait_for


def ask(stack: LiveStack, token: str, path: str) -> None:
    def asked() -> bool:
        answer = stack.request("POST", f"/v1/ops/{path}", token=token)
        assert answer.status_code in (200, 503), answer.text
        return answer.status_code == 200

    wait_for(asked, seconds=60, what=path)


def worker_of(stack: LiveStack, token: str) -> dict:
    def found() -> dict | None:
        answer = stack.request("GET", "/v1/ops/workers", token=token)
        assert answer.status_code in (200, 503), answer.text
        workers = answer.json().get("workers")
        return max(workers, key=lambda worker: worker["seen"]) if workers else None

    return wait_for(found, seconds=60, what="a worker's report")


@pytest.mark.long
def test_what_is_paused_waits_and_runs_at_its_first_attempt_afterwards(stack: LiveStack) -> None:
    token = stack.token_for("operations", "ops:read", "ops:write")
    wait_for(lambda: worker_of(stack, token).get("state") == "ready", seconds=60)

    ask(stack, token, "lanes/default/pause")
    wait_for(lambda: worker_of(stack, token)["holds"] == ["paused"], seconds=60)
    job = stack.relay("r18", {"n": 1})
    # It is received by nobody: the worker reports again, holding nothing.
    seen = worker_of(stack, token)["seen"]
    wait_for(lambda: worker_of(stack, token)["seen"] > seen, seconds=60)
    assert stack.job(job)["state"] == "accepted"
    ask(stack, token, "lanes/default/resume")
    assert stack.wait(job)["attempts"] == 1

    worker = worker_of(stack, token)["id"]
    ask(stack, token, f"workers/{worker}/drain")
    wait_for(lambda: worker_of(stack, token)["state"] == "drained", seconds=60)
    ask(stack, token, f"workers/{worker}/resume")
    wait_for(lambda: worker_of(stack, token)["state"] == "ready", seconds=60)

    ask(stack, token, "tasks/webhooks.relay/pause")
    before = worker_of(stack, token)["seen"]
    wait_for(lambda: worker_of(stack, token)["seen"] > before, seconds=60)
    job = stack.relay("r18", {"n": 2})
    wait_for(lambda: worker_of(stack, token)["counters"].get("postponed"), seconds=60)
    assert stack.job(job)["state"] == "accepted"
    ask(stack, token, "tasks/webhooks.relay/resume")
    assert stack.wait(job, seconds=90)["attempts"] == 1
