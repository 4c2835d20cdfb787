"""Retries that must be copies, on FIFO queues: SQS swallows what it has seen, without an error."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from support.sqs_lab import Lab, message
from support.waiting import wait_for

#: How a sender names group and deduplication id in the message itself; besides, SQS gets both.
SENDERS: list[dict[str, Any]] = [
    {"headers": {"MessageGroupId": "g", "MessageDeduplicationId": "d"}},
    {"properties": {"MessageGroupId": "g", "MessageDeduplicationId": "d"}},
    {"headers": {"MessageDeduplicationId": "d"}},
    {"headers": {"MessageGroupId": "g"}},
    {},  # by `sealwax-group`, which is taken out of the message when it is sent
]
WAYS = ["arguments", "keywords", "option", "headers", "quiet", "stock"]


def test_a_copy_keeps_its_group_and_is_new_to_sqs(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(fifo=True)
    expected = {}
    for sender in SENDERS:
        for way in WAYS:
            group, once = f"group-{len(expected)}", uuid.uuid4().hex
            names = {"g": group, "d": once}
            said = {
                place: {name: names[value] for name, value in values.items()}
                for place, values in sender.items()
            }
            body = message("copied", way, 0, queue=lab.queue, **said)
            lab.put(body, MessageGroupId=group, MessageDeduplicationId=once)
            expected[group] = way
    lab.start_worker()
    wait_for(lambda: len(lab.notes("copied")) >= 3 * len(expected) and lab.empty(), seconds=120)
    for group, way in expected.items():
        notes = [note for note in lab.notes("copied") if note["group"] == group]
        assert [(note["step"], note["how"]) for note in notes] == [(n, way) for n in range(3)]
        assert len({note["id"] for note in notes}) == 1
    assert lab.dead_count() == 0
