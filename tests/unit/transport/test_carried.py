"""What receives are charged, and what a copy says of the messages before it."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from support.sqs_lab import message

from sealwax.transport.carried import (
    CARRIED,
    MOST,
    copy_fields,
    is_copyable,
    receives_charged,
    take_carried,
)
from sealwax.transport.in_flight import Carried, Delivery
from sealwax.transport.options import TransportOptions


def delivered(body: str, *, queue: str = "q", **facts: Any) -> Delivery:
    now = time.time()
    known: dict[str, Any] = {
        "token": "t", "receipt": "r", "message_id": "m", "attributes": {}, "receive_count": 1,
        "sent_at": now, "first_received_at": now, "received_at": time.monotonic(),
        "lease_until": 0.0,
    }  # fmt: skip
    return Delivery(queue=queue, body=body, **known | facts)


@pytest.mark.parametrize(
    ("receives", "eta", "delayed", "charged"),
    [
        (1, None, None, 0),
        (3, None, None, 2),
        (2, 900, 900, 1),  # SQS waited itself: the second receive was a retry
        (2, 3_600, 900, 0),  # the first receive only waited on
        (3, 3_600, 900, 1),
    ],
)
def test_receives_are_charged_but_not_those_that_waited_for_an_eta(
    receives: int, eta: int | None, delayed: int | None, charged: int
) -> None:
    sent = time.time()
    text = datetime.fromtimestamp(sent + eta, UTC).isoformat() if eta else None
    metadata = {"receive_count": receives, "sent_at": sent}
    assert receives_charged(metadata, text, delayed=delayed) == charged


@pytest.mark.parametrize(
    ("said", "carried"),
    [
        ({"receives": 4, "retries": 2, "crashes": 1, "first": 7.5}, (4, 2, 1, 7.5)),
        ({}, (0, 0, 0, 0)),
        ("much", (0, 0, 0, 0)),
        ({"receives": -1, "retries": True, "crashes": "3", "first": "soon"}, (0, 0, 0, 0)),
        ({"receives": 1e300, "retries": 10**30, "crashes": None, "first": -5}, (0, MOST, 0, 0)),
        (None, (0, 0, 0, 0)),
    ],
)
def test_what_a_stranger_says_of_earlier_receives_is_bounded(
    said: Any, carried: tuple[float, ...]
) -> None:
    payload = {"properties": {CARRIED: said, "priority": 1}}
    found = take_carried(payload)
    assert found is not None
    assert (found.receives, found.retries, found.crashes, found.first) == carried
    assert payload == {"properties": {"priority": 1}}
    assert take_carried(payload) is None


@pytest.mark.parametrize(
    ("how", "counts"),
    [
        ({}, {"receives": 7, "retries": 3, "crashes": 1}),
        ({"crashed": True}, {"receives": 7, "retries": 3, "crashes": 2}),
        ({"retried": True}, {"receives": 7, "retries": 4, "crashes": 1}),
        ({"requeued": True}, {"receives": 7, "retries": 3, "crashes": 1, "requeues": 1}),
    ],
)
@pytest.mark.parametrize("opened", [True, False])
def test_a_copy_says_how_its_message_fared(
    how: dict[str, Any], counts: dict[str, int], opened: bool
) -> None:
    before = {"receives": 5, "retries": 2, "crashes": 1, "first": 9.0}
    plain = message("ok", 1)
    if opened:
        # The second receive of a copy that was made after five.
        delivery = delivered(plain, receive_count=7, carried=Carried(**before), group="g")
    else:
        body = json.loads(plain)
        body["properties"][CARRIED] = before
        delivery = delivered(json.dumps(body), receive_count=2, group="g")
    fields = copy_fields(delivery, delay=2.5, **how)
    sent = json.loads(fields["MessageBody"])
    assert sent["properties"].pop(CARRIED) == counts | {"first": 9.0}
    assert sent["properties"].pop("sealwax-delayed") == fields["DelaySeconds"] == 3
    assert sent == json.loads(plain)
    assert fields["MessageGroupId"] == "g"


def test_a_copy_on_a_fifo_queue_has_no_delay_and_is_new_to_sqs() -> None:
    delivery = delivered(message("ok"), queue="q.fifo", group="g")
    first, second = (copy_fields(delivery, delay=60) for _ in range(2))
    assert "DelaySeconds" not in first
    assert first["MessageGroupId"] == "g"
    assert first["MessageDeduplicationId"] != second["MessageDeduplicationId"]


@pytest.mark.parametrize(
    ("body", "queue", "options", "copied"),
    [
        ("x" * 3_072, "q", {}, True),
        ("x" * 3_073, "q", {}, False),
        ("\U0001f600" * 256, "q", {}, True),
        ("\U0001f600" * 257, "q", {}, False),
        ("x", "q.fifo", {}, False),
        ("x", "q", {"headers": frozenset({"id"})}, False),
    ],
)
def test_what_cannot_be_copied_is_left_alone(
    body: str, queue: str, options: dict[str, Any], copied: bool
) -> None:
    made = TransportOptions(message_bytes=4_096, **options)
    assert is_copyable(delivered(body, queue=queue), made) is copied
