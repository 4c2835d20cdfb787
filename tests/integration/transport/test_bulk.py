"""Many tasks sent together: calls of ten, and each task's fate told on its own."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from celery import Celery
from support.sqs_lab import VARIABLES, Lab

import sealwax.transport  # noqa: F401 - registers the broker's name
from sealwax.transport.bulk import send_tasks
from sealwax.transport.errors import MessageTooLarge, QueueNotFound


@pytest.fixture
def app(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", lab.url)
    made = Celery("bulk", broker="sealwax://", set_as_current=False)
    made.conf.task_default_queue = lab.queue
    made.conf.broker_transport_options = {"message_bytes": 4_096}
    yield made
    made.close()


def test_tasks_share_calls_and_each_ones_fate_is_told(app: Celery, lab: Lab) -> None:
    signatures = [app.signature("add", (n, "x" * (5_000 if n == 3 else 1))) for n in range(25)]
    signatures.append(app.signature("add", (25,), queue="nowhere"))
    fates = send_tasks(app, signatures)
    assert len({job for job, _ in fates}) == 26
    assert isinstance(fates[3][1], MessageTooLarge)
    assert isinstance(fates[25][1], QueueNotFound)
    sent = {job for n, (job, _) in enumerate(fates) if n not in (3, 25)}
    assert {job for job, error in fates if error is None} == sent

    received: set[str] = set()
    while len(received) < len(sent):
        found = lab.sqs.receive_message(QueueUrl=lab.queue_url, MaxNumberOfMessages=10)
        bodies = [json.loads(each["Body"]) for each in found.get("Messages", [])]
        assert bodies, f"{len(received)} of {len(sent)} are in the queue"
        received |= {body["headers"]["id"] for body in bodies}
    assert received == sent


def test_a_task_keeps_the_id_and_the_queue_it_was_given(app: Celery, lab: Lab) -> None:
    given = app.signature("add", (1,), task_id="mine", queue="nowhere")
    assert send_tasks(app, [given], queue=lab.queue) == [("mine", None)]
