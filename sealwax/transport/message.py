"""kombu's message, with the delivery it came from.

A message that has met its end may be ended again by some other path of Celery
(a time-out and the death of the child both report): the second is ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kombu.message import Message as KombuMessage

from sealwax.transport.in_flight import Delivery

if TYPE_CHECKING:
    from sealwax.transport.channel import Channel

__all__ = ["Message"]


class Message(KombuMessage):
    """A received, checked message."""

    delivery: Delivery | None = None

    @classmethod
    def of(cls, payload: dict[str, Any], delivery: Delivery, channel: Channel) -> Message:
        """Make the message of a checked payload."""
        properties = payload["properties"]
        info = properties["delivery_info"]
        message = cls(
            body=payload["body"],
            delivery_tag=delivery.token,
            content_type=payload["content-type"],
            content_encoding=payload["content-encoding"],
            delivery_info={
                "exchange": info.get("exchange") or "",
                "routing_key": info.get("routing_key") or delivery.queue,
                "redelivered": delivery.receive_count > 1,
                "sqs": delivery.metadata(),
            },
            properties=properties,
            headers=payload["headers"],
            channel=channel,
        )
        message.delivery = delivery
        return message

    def ack(self, multiple: bool = False) -> None:
        """Acknowledge, unless it has already met its end."""
        if not self.acknowledged:
            super().ack(multiple=multiple)

    def reject(self, requeue: bool = False) -> None:
        """Reject, unless it has already met its end."""
        if not self.acknowledged:
            super().reject(requeue=requeue)

    def requeue(self) -> None:
        """Requeue, unless it has already met its end."""
        if not self.acknowledged:
            super().requeue()
