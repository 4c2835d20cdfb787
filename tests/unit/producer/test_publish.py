"""Which jobs go to the queue at once, and which to the outbox."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from sealwax.outbox.store import Item
from sealwax.producer.celery_app import make_producer
from sealwax.producer.publish import MASK, CeleryPublisher, QueuedJob
from sealwax.settings import Settings
from sealwax.transport.errors import QueueNotFound, QueueUnreachable
from sealwax.transport.options import MAX_DELAY

JOB = "0123456789abcdef0123456789abcdef"
SETTINGS = Settings(
    lanes={"default": {"fair": True}, "other": {}, "ordered": {"queue": "ordered.fifo"}}
)


class Queue:
    """Takes what Celery sends, or fails as it is told."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.asked = 0
        self.failure: Exception | None = None

    def send_task(self, name: str, **options: Any) -> None:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        self.sent.append({"name": name, **options})


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def kept() -> list[Item]:
    """What the outbox has taken."""
    return []


def publisher(queue: Queue, kept: list[Item] | None, *, pause: float = 0.0) -> CeleryPublisher:
    app = make_producer(SETTINGS)
    app.send_task = queue.send_task
    outbox = None if kept is None else SimpleNamespace(put=kept.append)
    stores: Any = None if outbox is None else SimpleNamespace(outbox=outbox)
    return CeleryPublisher(app, SETTINGS, stores=stores, pause=pause)


def job(lane: str = "default", *, delay: float = 0.0) -> QueuedJob:
    definition: Any = SimpleNamespace(name="demo.greet", lane=lane)
    return QueuedJob(
        definition=definition, job_id=JOB, envelope="swx1.a.b.c", group="g", created=100.0,
        delay=delay,
    )  # fmt: skip


def wrapped(cause: Exception | None) -> OperationalError:
    error = OperationalError("kombu's")
    error.__cause__ = cause
    return error


def test_a_job_is_sent_masked_and_sqs_waits_for_a_short_delay(queue: Queue, kept: list[Item]):
    publisher(queue, kept).publish(job(delay=MAX_DELAY))
    (sent,) = queue.sent
    assert (sent["task_id"], sent["args"], sent["argsrepr"]) == (JOB, ("swx1.a.b.c",), MASK)
    assert (sent["delay_seconds"], sent["sealwax-group"]) == (MAX_DELAY, "g")
    publisher(queue, kept).publish(job("other"))
    assert not {"delay_seconds", "sealwax-group"} & set(queue.sent[1])
    assert kept == []


def test_what_sqs_cannot_delay_waits_in_the_outbox(queue: Queue, kept: list[Item]):
    publisher(queue, kept).publish(job(delay=MAX_DELAY + 1))
    publisher(queue, kept).publish(job("ordered", delay=1))
    assert queue.asked == 0
    assert [item.due for item in kept] == [100.0 + MAX_DELAY + 1, 101.0]
    assert [item.id for item in kept] == [f"{JOB}#0"] * 2
    assert json.loads(kept[0].body)["headers"]["argsrepr"] == MASK
    assert (kept[0].group, kept[1].lane) == ("g", "ordered")


@pytest.mark.parametrize(
    "failure",
    [QueueUnreachable("direct"), wrapped(QueueUnreachable("wrapped")), wrapped(OSError("socket"))],
)
def test_what_sqs_does_not_take_the_outbox_does(queue: Queue, kept: list[Item], failure: Exception):
    queue.failure = failure
    publisher(queue, kept).publish(job())
    assert [item.due for item in kept] == [100.0]
    with pytest.raises(QueueUnreachable):
        publisher(queue, None).publish(job())


@pytest.mark.parametrize("failure", [QueueNotFound("direct"), wrapped(QueueNotFound("wrapped"))])
def test_what_no_repetition_mends_is_not_kept(queue: Queue, kept: list[Item], failure: Exception):
    queue.failure = failure
    sender = publisher(queue, kept, pause=60.0)
    for _ in range(2):
        with pytest.raises(QueueNotFound):
            sender.publish(job())
    assert (queue.asked, kept) == (2, [])  # it answered: it is asked again


def test_without_an_outbox_what_is_to_be_sent_later_is_refused(queue: Queue):
    with pytest.raises(QueueUnreachable):
        publisher(queue, None).publish(job(delay=MAX_DELAY + 1))
    assert queue.asked == 0


def test_a_queue_that_does_not_answer_is_left_alone_the_others_are_not(
    queue: Queue, kept: list[Item]
):
    sender = publisher(queue, kept, pause=60.0)
    queue.failure = QueueUnreachable()
    sender.publish(job())
    sender.publish(job())
    assert (queue.asked, len(kept)) == (1, 2)
    queue.failure = None
    sender.publish(job("other"))
    assert [sent["queue"] for sent in queue.sent] == [SETTINGS.queue_name("other")]


def test_without_a_pause_each_job_asks_the_queue(queue: Queue, kept: list[Item]):
    sender = publisher(queue, kept)
    queue.failure = QueueUnreachable()
    sender.publish(job())
    sender.publish(job())
    assert (queue.asked, len(kept)) == (2, 2)


def test_an_answer_that_was_under_way_when_another_failed_says_that_the_queue_is_there(
    queue: Queue, kept: list[Item]
):
    sender = publisher(queue, kept, pause=60.0)
    real = queue.send_task

    def fails_meanwhile(name: str, **options: Any) -> None:
        sender._app.send_task = real
        queue.failure = QueueUnreachable()
        sender.publish(job())
        queue.failure = None
        real(name, **options)

    sender._app.send_task = fails_meanwhile
    sender.publish(job())
    sender.publish(job())
    assert (len(queue.sent), len(kept)) == (2, 1)
