"""A Celery message as SQS's fields."""

from __future__ import annotations

from typing import Any

import pytest

from sealwax.transport.errors import (
    MessageTooLarge,
)
from sealwax.transport.options import TransportOptions
from sealwax.transport.publishing import entry_fields


def message(**headers: Any) -> dict[str, Any]:
    return {
        "body": "[[],{},{}]", "headers": {"id": "j", **headers}, "properties": {},
        "content-type": "application/json", "content-encoding": "utf-8",
    }  # fmt: skip


def test_an_eta_becomes_a_delay_of_at_most_fifteen_minutes() -> None:
    fields, _ = entry_fields(
        message(eta="2030-01-01T00:00:00+00:00"), fifo=False, options=TransportOptions(), now=0.0
    )
    assert fields["DelaySeconds"] == 900
    plain, _ = entry_fields(message(), fifo=False, options=TransportOptions(), now=0.0)
    assert "DelaySeconds" not in plain


def test_a_fifo_message_without_a_key_is_a_group_of_its_own() -> None:
    fields, _ = entry_fields(message(), fifo=True, options=TransportOptions(), now=0.0)
    assert fields["MessageGroupId"] == "j"
    keyed = message()
    keyed["properties"] |= {"sealwax-group": "g", "sealwax-dedup": "d"}
    fields, _ = entry_fields(keyed, fifo=True, options=TransportOptions(), now=0.0)
    assert (fields["MessageGroupId"], fields["MessageDeduplicationId"]) == ("g", "d")
    assert "sealwax-group" not in fields["MessageBody"]


@pytest.mark.parametrize("fair", [True, False])
def test_fair_queues_are_a_setting(fair: bool) -> None:
    keyed = message()
    keyed["properties"]["sealwax-group"] = "tenant"
    fields, _ = entry_fields(keyed, fifo=False, options=TransportOptions(fair_queues=fair), now=0.0)
    assert ("MessageGroupId" in fields) is fair


def test_the_size_limit_holds_at_its_edge() -> None:
    _, size = entry_fields(message(), fifo=False, options=TransportOptions(), now=0.0)
    entry_fields(message(), fifo=False, options=TransportOptions(message_bytes=size), now=0.0)
    with pytest.raises(MessageTooLarge):
        entry_fields(
            message(), fifo=False, options=TransportOptions(message_bytes=size - 1), now=0.0
        )
