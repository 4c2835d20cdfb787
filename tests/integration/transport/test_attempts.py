"""How attempts end, with real worker processes."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from support.sqs_lab import Lab, message, server_state
from support.waiting import wait_for


def test_a_task_runs_once_and_its_message_is_deleted(lab: Lab) -> None:
    lab.start_worker()
    for number in range(25):
        lab.send("ok", number)
    wait_for(lambda: len(lab.notes("ok")) == 25 and lab.empty())
    assert {note["receives"] for note in lab.notes("ok")} == {1}
    assert lab.dead_count() == 0


def test_a_retry_postpones_the_same_message(lab: Lab) -> None:
    lab.start_worker()
    sends = server_state(lab.url)["calls"].get("SendMessageBatch", 0)
    lab.send("again", 2)
    wait_for(lambda: len(lab.notes("again")) == 3 and lab.empty())
    notes = lab.notes("again")
    assert [note["retries"] for note in notes] == [0, 1, 2]
    assert len({note["id"] for note in notes}) == 1
    assert notes[1]["at"] - notes[0]["at"] > 0.9
    assert server_state(lab.url)["calls"].get("SendMessageBatch", 0) == sends


def test_used_up_retries_end_in_the_dead_letter_queue_as_exhausted(lab: Lab) -> None:
    lab.start_worker()
    lab.send("again", 99)
    wait_for(lambda: lab.dead_count() == 1)
    assert len(lab.notes("again")) == 4
    (letter,) = lab.letters()
    assert letter["reason"] == "exhausted"


def test_a_retry_with_other_arguments_is_a_copy(lab: Lab) -> None:
    lab.start_worker()
    lab.send("changed", 0)
    wait_for(lambda: len(lab.notes("changed")) == 3 and lab.empty())
    assert [note["step"] for note in lab.notes("changed")] == [0, 1, 2]


def test_a_failure_is_dead_lettered_without_its_text(lab: Lab) -> None:
    lab.start_worker()
    body = message("boom", "very-secret", queue=lab.queue)
    lab.put(body, MessageAttributes={"mine": {"DataType": "String", "StringValue": "kept"}})
    wait_for(lambda: lab.dead_count() == 1 and lab.empty())
    found = lab.sqs.receive_message(QueueUrl=lab.dead_url, MessageAttributeNames=["All"])
    (item,) = found["Messages"]
    assert item["Body"] == body
    assert item["MessageAttributes"]["mine"]["StringValue"] == "kept"
    text = item["MessageAttributes"]["sealwax-dead-letter"]["StringValue"]
    assert "very-secret" not in text
    letter = json.loads(text)
    assert (letter["reason"], letter["error"], letter["queue"]) == (
        "rejected", "ValueError", lab.queue,
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(
    ("task", "error"),
    [("die", "WorkerLost"), ("memory", "WorkerLost"), ("hard", "TimeLimitExceeded")],
)
def test_an_attempt_that_kills_its_process_is_tried_again_then_dead(
    lab: Lab, task: str, error: str
) -> None:
    worker = lab.start_worker()
    lab.send(task)
    lab.send("ok", "neighbour")
    wait_for(lambda: lab.dead_count() == 1 and lab.empty(), seconds=30)
    (letter,) = lab.letters()
    assert (letter["reason"], letter["attempts"], letter["error"]) == ("crashed", 3, error)
    assert worker.poll() is None
    lab.send("ok", "after")
    wait_for(lambda: len(lab.notes("ok")) == 2)


def test_an_eta_is_waited_for_in_the_queue(lab: Lab) -> None:
    import datetime as dt

    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=3)
    lab.put(message("ok", "later", headers={"eta": moment.isoformat()}))
    lab.start_worker()
    wait_for(lambda: lab.notes("ok") and lab.empty())
    (note,) = lab.notes("ok")
    assert note["at"] >= moment.timestamp()


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_other_pools_work_too(lab: Lab, pool: str) -> None:
    lab.start_worker(pool=pool)
    for number in range(12):
        lab.send("ok", number)
    lab.send("again", 1)
    lab.send("boom", "x")
    wait_for(lambda: len(lab.notes("ok")) == 12 and len(lab.notes("again")) == 2 and lab.empty())
    assert lab.dead_count() == 1


def test_a_body_is_sent_as_plain_json(lab: Lab) -> None:
    import subprocess
    import sys

    code = "import lab_app; lab_app.ok.delay('x')"
    subprocess.run([sys.executable, "-c", code], env=lab.environment(), check=True, timeout=30)
    (item,) = lab.sqs.receive_message(QueueUrl=lab.queue_url)["Messages"]
    payload = json.loads(item["Body"])
    assert json.loads(payload["body"])[0] == ["x"]


def test_a_child_that_dies_while_its_worker_starts_is_replaced(lab: Lab) -> None:
    worker = lab.start_worker(conf={"imports": ["kill_a_child"]})
    for number in range(10):
        lab.send("ok", number)
    wait_for(lambda: len(lab.notes("ok")) == 10 and lab.empty())
    assert worker.poll() is None


def test_what_is_given_back_is_no_retry_and_ends_by_a_bound_of_its_own(lab: Lab) -> None:
    lab.send("gives back", 2)
    lab.send("gives back", 1_000)
    lab.start_worker(requeues=3)
    wait_for(lambda: lab.dead_count() == 1 and lab.empty(), seconds=90)
    runs = lab.notes("gives back")
    assert sorted(Counter(run["id"] for run in runs).values()) == [3, 4]
    assert {run["retries"] for run in runs} == {0}
    (letter,) = lab.letters()
    assert (letter["reason"], letter["cause"]) == ("exhausted", "requeued")
    assert json.loads(json.loads(letter["body"])["body"])[0] == [1_000]
