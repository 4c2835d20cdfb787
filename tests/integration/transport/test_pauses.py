"""A held queue is not received from, and what was received comes back unharmed."""

from __future__ import annotations

from typing import Any

import pytest
from kombu import Connection, Consumer, Queue
from support.sqs_lab import VARIABLES, Lab
from support.waiting import wait_for

import sealwax.transport  # noqa: F401 - makes "sealwax://" known
from sealwax.transport.pauses import ConsumerPauses


@pytest.fixture
def pauses() -> ConsumerPauses:
    return ConsumerPauses()


@pytest.fixture
def connection(lab: Lab, pauses: ConsumerPauses, monkeypatch: pytest.MonkeyPatch):
    for name, value in (VARIABLES | {"AWS_ENDPOINT_URL": lab.url}).items():
        monkeypatch.setenv(name, value)
    # An engine of this test's own: they are told apart by their options' text.
    options = {"wait_time": 1, "queues": {lab.queue: {"queue": lab.queue}}, "pauses": pauses}
    with Connection("sealwax://", transport_options=options) as connection:
        yield connection


def drain(connection: Connection) -> None:
    try:
        connection.drain_events(timeout=0.2)
    except TimeoutError:
        return


def test_a_held_queue_is_received_from_only_when_the_hold_ends(lab, pauses, connection):
    seen: list[Any] = []
    pauses.pause(lab.queue, "paused")
    channel = connection.channel()
    channel.basic_qos(0, 10, False)
    consumer = Consumer(channel, Queue(lab.queue), on_message=seen.append, accept=["json"])
    consumer.consume()
    for number in range(3):
        lab.send("ok", number)
    drain(connection)
    assert (seen, lab.depth()) == ([], (3, 0))
    pauses.resume(lab.queue, "paused")
    wait_for(lambda: drain(connection) or len(seen) == 3)

    # Held in the middle: what was not started is visible again at once.
    pauses.pause(lab.queue, "draining")
    wait_for(lambda: lab.depth() == (3, 0))
    before = len(seen)
    drain(connection)
    assert len(seen) == before
    pauses.resume(lab.queue, "draining")
    wait_for(lambda: drain(connection) or len(seen) == before + 3)
    for message in seen[before:]:
        message.ack()
    wait_for(lab.empty)
    consumer.cancel()
