"""Declaring makes nothing and asks nobody; deleting, purging and looking are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kombu import Connection

import sealwax.transport  # noqa: F401 - makes "sealwax://" known
from sealwax.transport.remote_control import NotSupported


@pytest.fixture
def channel() -> Any:
    connection = Connection("sealwax://", transport_options={"region": "us-east-1"})
    yield connection.default_channel
    connection.release()


def test_what_celery_declares_on_its_way_is_taken_without_a_call(channel: Any) -> None:
    channel.exchange_declare("orders", "direct")
    assert channel.queue_declare("orders", durable=True) == ("orders", 0, 0)
    channel.queue_bind("orders", "orders", "orders")
    channel.queue_declare("answers", auto_delete=True)
    channel.queue_delete("answers")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda channel: channel.queue_delete("orders"), "never deletes a queue, 'orders'"),
        (lambda channel: channel.queue_delete("orders", if_empty=True), "never deletes"),
        (lambda channel: channel.queue_purge("orders"), "never empties"),
        (lambda channel: channel.basic_get("orders"), "look at a single message"),
        (lambda channel: channel.basic_publish(object(), "", "orders"), "celery call"),
        (lambda channel: channel.after_reply_message_received("orders"), "never deletes"),
    ],
)
def test_what_would_do_nothing_is_refused(
    channel: Any, call: Callable[[Any], Any], says: str
) -> None:
    with pytest.raises(NotSupported, match=says):
        call(channel)


def test_a_queue_that_was_declared_for_a_moment_is_not_received_from(channel: Any) -> None:
    channel.queue_declare("celeryev.7d3f", auto_delete=True)
    with pytest.raises(NotSupported, match="events are not sent"):
        channel.basic_consume("celeryev.7d3f", True, print, "tag")
