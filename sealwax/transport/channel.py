"""kombu's channel: exchanges and bindings in memory, messages through the engine."""

from __future__ import annotations

import logging
import time
from queue import Empty
from typing import Any

from kombu.transport import virtual

from sealwax.transport.codec import Malformed, decode, encode
from sealwax.transport.dead_letters import DeadLetterReason
from sealwax.transport.engine import Engine
from sealwax.transport.held import Delivery
from sealwax.transport.message import Message
from sealwax.transport.validation import check_message, eta_of

__all__ = ["Channel", "QoS"]

logger = logging.getLogger(__name__)

#: Deliveries handed to the main loop in one turn, so that timers get theirs.
_PER_TURN = 100


class QoS(virtual.QoS):
    """Tells the engine how much may be held; keeps no list of its own."""

    def __init__(self, channel: Channel, prefetch_count: int = 0) -> None:
        self.channel = channel
        self._engine = channel.engine
        self.prefetch_count = prefetch_count

    @property
    def prefetch_count(self) -> int:
        """Most messages held at once; 0: no limit."""
        return self._engine.held.limit

    @prefetch_count.setter
    def prefetch_count(self, value: int) -> None:
        self._engine.held.limit = value or 0

    def can_consume(self) -> bool:
        """Whether another message may be received."""
        return self._engine.held.free() > 0

    def can_consume_max_estimate(self) -> int:
        """How many more may be received."""
        return self._engine.held.free()

    def append(self, message: Any, delivery_tag: str) -> None:
        """Nothing to do: the engine holds it already."""

    def get(self, delivery_tag: str) -> Any:
        """Return the delivery of a tag."""
        return self._engine.held.get(delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Delete the message."""
        self._engine.acknowledge(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """Give the message back, or dead-letter it."""
        self.channel.basic_reject(delivery_tag, requeue=requeue)

    def restore_unacked(self) -> None:
        """Nothing to do: leases end."""

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Nothing to do: closing the engine releases."""

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: SQS does it."""


class Channel(virtual.Channel):
    """A channel of the SQS transport."""

    QoS = QoS
    Message = Message
    do_restore = False
    # No base64 around JSON: a third of each message would be it.
    body_encoding = None
    from_transport_options = ()

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        self.engine: Engine = connection.engine
        super().__init__(connection, **kwargs)

    # -- sending -------------------------------------------------------------------

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        headers = message.get("headers") or {}
        properties = message.get("properties") or {}
        eta = headers.get("eta")
        delay = 0.0
        if eta is not None:
            try:
                delay = max(0.0, (eta_of(headers) or 0.0) - time.time())
            except Malformed:
                delay = 0.0
        self.engine.send(
            queue,
            encode(message),
            delay=delay,
            group=properties.pop("sealwax-group", None),
            dedup=properties.pop("sealwax-dedup", None) or headers.get("id"),
        )

    # -- receiving -----------------------------------------------------------------

    def basic_consume(
        self,
        queue: str,
        no_ack: bool,
        callback: Any,
        consumer_tag: str,
        **kwargs: Any,
    ) -> None:
        """Receive from a queue."""
        super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)
        self.engine.consume(queue)

    def basic_cancel(self, consumer_tag: str) -> None:
        """Receive no more; what was not started goes back at once."""
        queue = self._tag_to_queue.get(consumer_tag)
        super().basic_cancel(consumer_tag)
        if queue is not None:
            self.engine.cancel(queue)
            self.engine.release_unstarted()

    def drain_events(self, timeout: float | None = None, callback: Any = None) -> None:
        """Deliver what has arrived, waiting up to `timeout` seconds for the first."""
        delivery = self.engine.next_delivery(timeout if timeout is not None else 1.0)
        if delivery is None:
            raise Empty
        self.deliver(delivery)
        self.deliver_waiting()

    def deliver_waiting(self) -> None:
        """Deliver what has arrived without waiting."""
        for _ in range(_PER_TURN):
            delivery = self.engine.next_delivery()
            if delivery is None:
                return
            self.deliver(delivery)
        self.engine.signal()

    def deliver(self, delivery: Delivery) -> None:
        """Hand one delivery to its consumer; whatever is wrong with it ends here."""
        engine = self.engine
        if engine.held.get(delivery.token) is None:
            return  # released meanwhile
        try:
            payload = decode(delivery.body, max_depth=engine.options.max_depth)
            _identify(delivery, payload)
            check_message(payload, accept=engine.options.accept, max_depth=engine.options.max_depth)
            eta = eta_of(payload["headers"])
        except Malformed as found:
            self._malformed(delivery, found.kind)
            return
        except Exception as error:
            logger.warning("checking a message failed", extra={"error": type(error).__name__})
            self._malformed(delivery, "unreadable")
            return
        if eta is not None and eta > time.time() + 1:
            # Held in memory it would block a slot and lose its lease in the end.
            engine.postpone(delivery.token, eta - time.time())
            return
        payload["properties"]["delivery_tag"] = delivery.token
        payload["properties"]["delivery_info"]["sqs"] = delivery.facts()
        payload["headers"].pop("eta", None)
        try:
            callback = self.connection._callbacks[delivery.queue]
        except KeyError:
            engine.postpone(delivery.token, 0)
            return
        try:
            callback(payload)
        except Exception as error:
            # Celery's main loop choked on it: another kind of malformed.
            logger.warning("a message broke its consumer", extra={"error": type(error).__name__})
            self._malformed(delivery, "consumer-failed")

    def _malformed(self, delivery: Delivery, kind: str) -> None:
        self.engine.dead_letter(
            delivery.token,
            DeadLetterReason(
                reason="malformed",
                error=kind,
                attempts=0,
                job=delivery.job,
                details={"cause": kind},
            ),
            announce=True,
        )

    # -- settling ------------------------------------------------------------------

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """Delete the message."""
        self.engine.acknowledge(delivery_tag)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """Give the message back at once, or dead-letter it, as AMQP does."""
        if requeue:
            self.engine.postpone(delivery_tag, 0)
            return
        delivery = self.engine.held.get(delivery_tag)
        job = delivery.job if delivery else None
        self.engine.dead_letter(
            delivery_tag, DeadLetterReason(reason="rejected", job=job), announce=True
        )

    def postpone(self, delivery_tag: str, seconds: float) -> None:
        """Make the same message visible again after `seconds`."""
        self.engine.postpone(delivery_tag, seconds)

    def dead_letter(self, delivery_tag: str, reason: DeadLetterReason) -> None:
        """Dead-letter a message whose outcome is recorded."""
        self.engine.dead_letter(delivery_tag, reason)

    def unknown_task(self, delivery_tag: str, task: str | None) -> None:
        """Wait for a worker that knows the task; dead-letter after the grace."""
        delivery = self.engine.held.get(delivery_tag)
        if delivery is None:
            return
        waited = time.time() - delivery.first_received_at
        grace = self.engine.options.unknown_task_grace
        if waited < grace:
            self.engine.postpone(delivery_tag, min(5.0, max(1.0, grace - waited)))
            return
        self.engine.dead_letter(
            delivery_tag,
            DeadLetterReason(
                reason="unknown-task",
                error="UnknownTask",
                attempts=0,
                job=delivery.job,
                details={"cause": "unknown-task", "task": (task or "")[:100]},
            ),
            announce=True,
        )

    def started(self, delivery_tag: str) -> None:
        """Note that the pool has the message: SIGTERM no longer gives it back."""
        self.engine.held.start(delivery_tag)

    # -- what SQS has none of ------------------------------------------------------

    def _size(self, queue: str) -> int:
        return 0  # declaring asks for it; no call is worth the answer

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        raise Empty  # basic_get is not served: nothing of Celery's worker uses it

    def _new_queue(self, queue: str, **_: Any) -> None:
        """Queues are made by infrastructure, never by a message."""

    def _delete(self, queue: str, *_: Any, **__: Any) -> None:
        """Queues are never deleted from here."""

    def _purge(self, queue: str) -> int:
        raise NotImplementedError(
            "Purging would lose accepted jobs; discard dead letters or cancel jobs instead."
        )

    def close(self) -> None:
        """Close the channel; the engine goes on for the others."""
        super().close()


def _identify(delivery: Delivery, payload: dict[str, Any]) -> None:
    """Note job id and task name for records, if they can be read at all."""
    headers = payload.get("headers")
    if not isinstance(headers, dict):
        return
    job, task = headers.get("id"), headers.get("task")
    if isinstance(job, str) and 0 < len(job) <= 128 and job.isascii() and job.isprintable():
        delivery.job = job
    if isinstance(task, str) and 0 < len(task) <= 128 and task.isascii() and task.isprintable():
        delivery.task = task
