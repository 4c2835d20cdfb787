"""A message ends once, by whichever path comes first."""

from __future__ import annotations

from typing import Any

import pytest
from support.deliveries import delivery

from sealwax.transport.message import Message


class Channel:
    """Notes how messages end."""

    no_ack_consumers: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.ends: list[tuple[str, str]] = []

    def basic_ack(self, tag: str, multiple: bool = False) -> None:
        self.ends.append(("ack", tag))

    def basic_reject(self, tag: str, requeue: bool = False) -> None:
        self.ends.append(("requeue" if requeue else "reject", tag))


def message(channel: Channel, receives: int = 1) -> Message:
    payload: dict[str, Any] = {
        "body": "[]", "headers": {"task": "t"}, "properties": {"delivery_info": {}},
        "content-type": "application/json", "content-encoding": "utf-8",
    }  # fmt: skip
    return Message.of(payload, delivery("tok", receive_count=receives), channel)  # type: ignore[arg-type]


@pytest.mark.parametrize("first", ["ack", "reject", "requeue"])
@pytest.mark.parametrize("second", ["ack", "reject", "requeue"])
def test_the_second_end_of_a_message_is_ignored(first: str, second: str) -> None:
    channel = Channel()
    made = message(channel)
    getattr(made, first)()
    getattr(made, second)()
    assert channel.ends == [(first, "tok")]


def test_a_message_says_its_queue_and_whether_it_came_before() -> None:
    made = message(Channel())
    assert made.delivery_info["routing_key"] == "q"
    assert made.delivery_info["redelivered"] is False
    assert message(Channel(), receives=2).delivery_info["redelivered"] is True
