"""Moving a message to its dead-letter queue: record, send, and only then delete.

Runs on background threads, for as long as it takes: what fails is tried again
while the lease is kept. A message that cannot be buried stays in its queue.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from sealwax.transport.batching import Entry, Outcome
from sealwax.transport.client import backoff, describe
from sealwax.transport.dead_letters import ATTRIBUTE, DeadLetter, DeadLetterReason
from sealwax.transport.engine import Engine
from sealwax.transport.errors import DeadLetterQueueMissing
from sealwax.transport.held import Delivery
from sealwax.transport.publishing import message_size

__all__ = ["Burial", "letter_fields"]

logger = logging.getLogger(__name__)

#: SQS takes at most this many attributes on a message.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
MAX_ATTRIBUTES = 10

#: Longest pause between two attempts, in seconds.
PAUSE_MAX = 30.0


def letter_fields(
    delivery: Delivery, reason: DeadLetterReason, *, now: float, fifo: bool
) -> dict[str, Any]:
    """Return the dead letter's SendMessageBatch entry."""
    attributes = {
        name: {
            key: value[key] for key in ("DataType", "StringValue", "BinaryValue") if key in value
        }
        for name, value in delivery.attributes.items()
        if name != ATTRIBUTE
    }
    dropped = [attributes.popitem()[0] for _ in range(len(attributes) - MAX_ATTRIBUTES + 1)]
    attributes[ATTRIBUTE] = {
        "DataType": "String",
        "StringValue": reason.to_json(
            job=reason.job or delivery.job,
            task=delivery.task,
            queue=delivery.queue,
            at=round(now, 3),
            message_id=delivery.message_id,
            receive_count=delivery.receive_count,
            attempts=reason.attempts,
            dropped_attributes=dropped or None,
        ),
    }
    fields: dict[str, Any] = {"MessageBody": delivery.body, "MessageAttributes": attributes}
    if fifo:
        fields["MessageGroupId"] = delivery.group or delivery.message_id
        fields["MessageDeduplicationId"] = delivery.message_id
    return fields


class Burial:
    """Buries deliveries, one attempt after another.

    Parameters
    ----------
    on_buried
        Deletes the original; called when the dead letter is confirmed.
    """

    def __init__(self, engine: Engine, *, on_buried: Callable[[Delivery], None]) -> None:
        self._engine = engine
        self._on_buried = on_buried
        self._lock = threading.Lock()
        self._open: dict[str, Delivery] = {}

    def bury(self, delivery: Delivery, reason: DeadLetterReason, *, recorded: bool) -> None:
        """Begin."""
        with self._lock:
            self._open[delivery.token] = delivery
        self._engine.background.run(self._attempt, delivery, reason, recorded, 0)

    def unfinished(self) -> list[Delivery]:
        """Take out, at shutdown, what could not be buried yet: it goes back to its queue."""
        with self._lock:
            found = list(self._open.values())
            self._open.clear()
            return found

    def _attempt(
        self,
        delivery: Delivery,
        reason: DeadLetterReason,
        recorded: bool,
        attempt: int,
    ) -> None:
        if delivery.token not in self._open:
            return
        try:
            if not recorded:
                self._record(delivery, reason)
                recorded = True
            url = self._engine.dead_letter_url(delivery.queue)
        except Exception as error:
            if isinstance(error, DeadLetterQueueMissing):
                logger.error(  # noqa: TRY400 - the message says all
                    "%s Message %s stays in its queue.", error, delivery.message_id
                )
            else:
                logger.warning(
                    "Message %s cannot be dead-lettered yet (%s); trying again",
                    delivery.message_id,
                    describe(error),
                    exc_info=not recorded,
                )
            self._again(delivery, reason, recorded, attempt)
            return
        fields = letter_fields(delivery, reason, now=time.time(), fifo=url.endswith(".fifo"))
        self._engine.calls(url).send.submit(
            Entry(
                fields,
                done=lambda outcome: self._sent(delivery, reason, attempt, outcome),
                deadline=time.monotonic() + self._engine.options.send_timeout,
                size=message_size(fields),
                group=fields.get("MessageGroupId"),
            )
        )

    def _record(self, delivery: Delivery, reason: DeadLetterReason) -> None:
        hook = self._engine.options.on_dead_letter
        if hook is None:
            return
        hook(
            DeadLetter(
                reason=reason,
                job=delivery.job,
                task=delivery.task,
                queue=delivery.queue,
                message_id=delivery.message_id,
                receive_count=delivery.receive_count,
                body_bytes=len(delivery.body.encode("utf-8", "surrogatepass")),
            )
        )

    def _sent(
        self, delivery: Delivery, reason: DeadLetterReason, attempt: int, outcome: Outcome
    ) -> None:
        if not outcome.ok:
            logger.warning(
                "The dead-letter queue refused message %s (%s); trying again",
                delivery.message_id,
                outcome.code,
            )
            self._again(delivery, reason, True, attempt)  # noqa: FBT003
            return
        with self._lock:
            if self._open.pop(delivery.token, None) is None:
                return  # it went back to its queue meanwhile: a second letter may follow
        logger.warning(
            "Message %s on %s was dead-lettered: %s (%s)",
            delivery.message_id,
            delivery.queue,
            reason.reason,
            reason.error or "no detail",
        )
        self._on_buried(delivery)

    def _again(
        self,
        delivery: Delivery,
        reason: DeadLetterReason,
        recorded: bool,
        attempt: int,
    ) -> None:
        self._engine.background.run(
            self._attempt,
            delivery,
            reason,
            recorded,
            attempt + 1,
            delay=backoff(attempt, base=1.0, cap=PAUSE_MAX),
        )
