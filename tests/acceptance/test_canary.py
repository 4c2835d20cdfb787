"""A marker in everything a caller sends is nowhere outside the envelope."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from support.stack import LiveStack
from support.waiting import wait_for

MARK = "CANARY9d2f41"


@pytest.fixture(scope="module")
def own(make_stack, tmp_path_factory) -> Iterator[LiveStack]:
    folder = tmp_path_factory.mktemp("canarytasks")
    (folder / "canary_tasks.py").write_text(
        '''"""Tasks that misbehave with the payload in their hands."""
import os

from pydantic import BaseModel

from sealwax.outcomes import Rejected
from sealwax.retry import RetryPolicy
from sealwax.task_definition import task


class Secret(BaseModel):
    text: str
    how: str


@task(name="canary.sing", contract=Secret, retry=RetryPolicy(attempts=5, base=0.1))
def sing(payload, job):
    """Misbehave."""
    if payload.how == "return":
        return {"echo": payload.text}
    if payload.how == "transient" and job.attempt == 1:
        raise RuntimeError(payload.text)
    if payload.how == "permanent":
        raise Rejected(payload.text)
    if payload.how == "chained":
        try:
            {}[payload.text]
        except KeyError as error:
            raise Rejected("downstream-400") from error
    if payload.how == "crash" and job.attempt == 1:
        os._exit(3)
    if payload.how == "exit" and job.attempt == 1:
        raise SystemExit(payload.text)
    return None
''',
        encoding="utf-8",
    )
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    kept = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = path
    stack = make_stack(
        routes={"demo": {}, "bad": {}}, top='task_modules = ["tasks", "canary_tasks"]'
    )
    os.environ["PYTHONPATH"] = path  # for the worker's second start
    yield stack
    if kept is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = kept


def haystacks(stack: LiveStack) -> dict[str, str]:
    """Return everything at rest outside the envelope, with base64 opened."""
    found = {name: stack.log(name) for name in ("api", "worker")}
    for table in ("jobs", "tokens", "outbox"):
        found[table] = str(stack.items(table))
    sqs = stack.client("sqs")
    for dead in (False, True):
        answers = []
        while True:
            page = sqs.receive_message(
                QueueUrl=stack.queue_url(dead=dead),
                MaxNumberOfMessages=10,
                VisibilityTimeout=30,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            ).get("Messages", [])
            if not page:
                break
            answers += page
        for message in answers:  # visible again, now that all were seen
            sqs.change_message_visibility(
                QueueUrl=stack.queue_url(dead=dead),
                ReceiptHandle=message["ReceiptHandle"],
                VisibilityTimeout=0,
            )
        found[f"queue dead={dead}"] = json.dumps(answers)
    return found


def forms(mark: str) -> list[str]:
    """Return the marker as text and as it shows in base64, at each alignment."""
    shown = [mark, mark.lower()]
    for lead in range(3):
        encoded = base64.b64encode(b"\0" * lead + mark.encode()).decode()
        shown.append(encoded[4:-4])
    return shown


def assert_unseen(text: str, where: str) -> None:
    for form in forms(MARK):
        at = text.find(form)
        assert at < 0, f"{where}: …{text[max(0, at - 200) : at + 200]}…"


def test_the_marker_is_seen_nowhere(own: LiveStack) -> None:
    stack = own
    jobs: dict[str, str] = {}
    answers: list[Any] = []
    # While the worker is away the messages can be looked at in the queue.
    stack.stop_worker()
    for how in ("return", "transient", "permanent", "chained", "crash", "exit"):
        answer = stack.request(
            "POST",
            "/v1/jobs",
            json={"task": "canary.sing", "payload": {"text": MARK, "how": how}},
            headers={"Idempotency-Key": f"{MARK}-{how}"},
        )
        assert answer.status_code == 202, answer.text
        answers.append(answer)
        jobs[how] = answer.json()["id"]
    jobs["relay"] = stack.relay("bad", {"x": MARK}, event="e", key=f"{MARK}-relay")
    wrong = (
        {"task": "webhooks.relay", "payload": {"event": MARK + " ", "body": 1, MARK: MARK}},
        {"task": MARK, "payload": MARK},
        {"task": "canary.sing", "payload": {"text": [MARK], "how": MARK}},
        {MARK: MARK},
    )
    answers += [stack.request("POST", "/v1/jobs", json=bad) for bad in wrong]
    answers.append(
        stack.request("POST", "/v1/jobs", data=MARK, headers={"Content-Type": "application/json"})
    )
    answers.append(stack.request("GET", f"/v1/jobs/{MARK}"))
    answers.append(stack.request("GET", f"/{MARK}?q={MARK}", headers={"X-Request-Id": MARK}))
    answers.append(stack.request("GET", "/v1/tasks", token=MARK))
    answers.append(
        stack.request(
            "POST", "/v1/jobs", json=json.loads(json.dumps({"task": "canary.sing", "payload": {}})),
            headers={"Idempotency-Key": f"{MARK}\u00e4".encode("latin-1")},
        )
    )  # fmt: skip
    for answer in answers:
        assert_unseen(answer.text, f"{answer.status_code} {answer.url}")
        assert_unseen(str(answer.headers), f"headers of {answer.url}")
    queued = haystacks(stack)
    assert json.loads(queued["queue dead=False"]), "the messages must have been looked at"
    for where, text in queued.items():
        assert_unseen(text, where)

    requests.put(f"{stack.sandbox_url}/control/bad", json={"fail": {"status": 400}}, timeout=10)
    sqs = stack.client("sqs")
    wait_for(
        lambda: (
            sqs.get_queue_attributes(
                QueueUrl=stack.queue_url(), AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
            )["Attributes"]["ApproximateNumberOfMessagesNotVisible"]
            == "0"
        ),
        seconds=45,
        what="visible messages",
    )
    stack.start_worker()
    states = {how: stack.wait(job, seconds=90)["state"] for how, job in jobs.items()}
    assert states == {
        "return": "succeeded",
        "transient": "succeeded",
        "permanent": "dead",
        "chained": "dead",
        "crash": "succeeded",
        "exit": "succeeded",
        "relay": "dead",
    }
    shown = stack.request("GET", f"/v1/jobs/{jobs['return']}").json()
    assert shown["result"] == {"echo": MARK}  # its owner sees it
    assert stack.job(jobs["permanent"])["error"]["cause"] == "rejected"
    for how, job in jobs.items():
        if how != "return":
            assert_unseen(stack.request("GET", f"/v1/jobs/{job}").text, f"job {how}")
    for where, text in haystacks(stack).items():
        assert_unseen(text, where)


def test_the_check_of_the_canary_itself_can_fail() -> None:
    for text in (MARK, base64.b64encode(f"ab{MARK}c".encode()).decode()):
        with pytest.raises(AssertionError):
            assert_unseen(text, "here")
