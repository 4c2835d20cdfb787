"""Deliveries as a receive makes them."""

from __future__ import annotations

from typing import Any

from sealwax.transport.in_flight import Delivery

__all__ = ["delivery"]


def delivery(token: str, group: str | None = None, **more: Any) -> Delivery:
    fields: dict[str, Any] = {
        "queue": "q.fifo" if group else "q", "receipt": "r", "message_id": token, "body": "{}",
        "attributes": {}, "receive_count": 1, "sent_at": 0.0, "first_received_at": 0.0,
        "received_at": 0.0, "lease_until": 30.0,
    }  # fmt: skip
    return Delivery(token=token, group=group, **fields | more)
