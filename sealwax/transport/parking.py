"""Parking: a long wait is spent in the outbox, not in SQS's quota of messages in flight.

A postponed message counts as not visible, of which a queue may have 120,000.
So what waits for more than a quarter of an hour, or anything while half that
quota is used, is handed to the `park` option instead: it records message and
due time, the message is deleted, and somebody sends it again when it is due.
Without that option a long wait stays in the queue, in hops.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sealwax.aws.clock import AWS_CLOCK
from sealwax.aws.errors import error_code
from sealwax.aws.sqs import message_size
from sealwax.transport.carried import copy_fields
from sealwax.transport.codec import Malformed
from sealwax.transport.engine import Engine
from sealwax.transport.in_flight import Delivery

__all__ = ["Parked", "Parking", "should_park"]

logger = logging.getLogger(__name__)

#: Longest wait that is spent in the queue, in seconds.
LONGEST = 900

#: Half of what SQS lets a standard queue have in flight.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
CROWDED = 60_000

#: Seconds between two counts of a queue's messages in flight.
COUNT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Parked:
    """A message that is to be sent again, unchanged, when it is due.

    Without a ledger its body says how often it was tried.
    """

    queue: str
    body: str
    attributes: dict[str, Any]
    group: str | None
    job: str | None
    task: str | None
    message_id: str
    due: float


def should_park(seconds: float, not_visible: int, *, fifo: bool) -> bool:
    """Whether a wait is better spent elsewhere. Pure.

    Never on a FIFO queue: a message that waits there keeps its group waiting, which is the point.
    """
    return not fifo and (seconds > LONGEST or not_visible > CROWDED)


class Parking:
    """Parking of long waits: decides, and hands messages to the `park` option.

    Parameters
    ----------
    parked
        Deletes the message, once the option has recorded it.
    """

    def __init__(self, engine: Engine, *, parked: Callable[[Delivery], None]) -> None:
        self._engine = engine
        self._parked = parked
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._counted: dict[str, float] = {}

    def take(
        self,
        delivery: Delivery,
        seconds: int,
        *,
        refused: Callable[[], None],
        retried: bool = False,
        crashed: bool = False,
        requeued: bool = False,
    ) -> bool:
        """Take over a settled delivery that is to wait; False: it is to wait in the queue.

        Parameters
        ----------
        refused
            Has it wait in the queue after all; called in the background.
        retried, crashed, requeued
            How this receive ended; none of them: it only waited.
        """
        if self._engine.options.park is None:
            return False
        self._refresh_count(delivery.queue)
        crowd = self._counts.get(delivery.queue, 0)
        if not should_park(seconds, crowd, fifo=delivery.queue.endswith(".fifo")):
            return False
        ended = {"retried": retried, "crashed": crashed, "requeued": requeued}
        body = self._body(delivery, ended)
        if body is None:
            return False
        self._engine.background.run(self._park, delivery, body, seconds, refused)
        return True

    def _body(self, delivery: Delivery, ended: dict[str, bool]) -> str | None:
        """Return what to send again; None: with its counts it would be too large."""
        if self._engine.options.headers is not None:
            return delivery.body  # the ledger counts
        try:
            fields = copy_fields(delivery, delay=0, **ended)
        except Malformed:
            return delivery.body  # whoever opens it will say so
        if message_size(fields) > self._engine.options.message_bytes:
            return None
        return str(fields["MessageBody"])

    def _park(
        self, delivery: Delivery, body: str, seconds: int, refused: Callable[[], None]
    ) -> None:
        park = self._engine.options.park
        if park is None:
            return
        try:
            park(
                Parked(
                    queue=delivery.queue,
                    body=body,
                    attributes=delivery.attributes,
                    group=delivery.group,
                    job=delivery.job,
                    task=delivery.task,
                    message_id=delivery.message_id,
                    due=AWS_CLOCK() + seconds,
                )
            )
        except Exception as error:  # noqa: BLE001 - the application's; the message waits here then
            logger.warning(
                "Message %s could not be parked (%s); it waits in its queue",
                delivery.message_id,
                error_code(error),
            )
            refused()
            return
        self._engine.counters.add("parked")
        self._parked(delivery)

    def _refresh_count(self, queue: str) -> None:
        now = time.monotonic()
        with self._lock:
            if now - self._counted.get(queue, -COUNT_SECONDS) < COUNT_SECONDS:
                return
            self._counted[queue] = now
        self._engine.background.run(self._count, queue)

    def _count(self, queue: str) -> None:
        try:
            attributes = self._engine.quick.get_queue_attributes(
                QueueUrl=self._engine.url(queue),
                AttributeNames=["ApproximateNumberOfMessagesNotVisible"],
            )["Attributes"]
            self._counts[queue] = int(attributes["ApproximateNumberOfMessagesNotVisible"])
        except Exception as error:  # noqa: BLE001 - the next count may succeed
            self._engine.counters.add(f"failures.count.{error_code(error)}")
