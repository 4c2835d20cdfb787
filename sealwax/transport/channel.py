"""kombu's channel: where Celery publishes, consumes, acknowledges and rejects.

Publishing may happen on any thread. Consuming delivers on the event loop's
thread; acknowledging and the like may come from the loop, from pool threads or
from the background, and never touch the network themselves.

"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from queue import Empty
from typing import Any

from kombu.transport import virtual

from sealwax.aws.clock import AWS_CLOCK
from sealwax.aws.errors import GONE
from sealwax.outcomes import Ack, DeadLetter, Reason, Retry
from sealwax.transport.batcher import Batcher
from sealwax.transport.batching import BatchEntry, EntryResult
from sealwax.transport.codec import Malformed, decode
from sealwax.transport.declarations import Declarations
from sealwax.transport.engine import Engine
from sealwax.transport.errors import (
    MessageRefused,
    MessageTooLarge,
    QueueNotFound,
    QueueUnreachable,
    TransportError,
)
from sealwax.transport.in_flight import Delivery, MessageState
from sealwax.transport.message import Message as SqsMessage
from sealwax.transport.publishing import entry_fields
from sealwax.transport.readable import check_readable
from sealwax.transport.remote_control import (
    EXCHANGES,
    NotSupported,
    on_broadcast,
    on_transient_queue,
)
from sealwax.transport.settlement import Settler
from sealwax.transport.validation import check_message, eta_of, is_plain

__all__ = ["Channel"]

logger = logging.getLogger(__name__)

#: What Celery logs of a task's arguments, where a message's own words are not
#: obeyed: whoever sent it could write whole lines of a log into them. Not empty,
#: or Celery would print the arguments themselves.
_MASKS = {"argsrepr": "(withheld)", "kwargsrepr": "(withheld)"}


#: A queue's logical name, and a prepared message for it.
Addressed = tuple[str, dict[str, Any]]


class QoS(virtual.QoS):
    """Prefetch accounting, read from what is in flight."""

    def __init__(self, channel: Channel, prefetch_count: int = 0) -> None:
        self.channel = channel
        self._settler = channel.settler
        self._settler.in_flight.limit = prefetch_count or 0

    @property
    def prefetch_count(self) -> int:
        """Most messages in flight at once; 0: no limit."""
        return self._settler.in_flight.limit

    @prefetch_count.setter
    def prefetch_count(self, value: int) -> None:
        self._settler.in_flight.limit = value or 0

    def can_consume(self) -> bool:
        """Whether one more message may be received."""
        return self._settler.in_flight.free() > 0

    def can_consume_max_estimate(self) -> int:
        """How many more messages may be received."""
        return max(0, self._settler.in_flight.free())

    def append(self, message: Any, delivery_tag: str) -> None:
        """Do nothing: a message is accounted for when it is received."""

    def get(self, delivery_tag: str) -> Delivery | None:
        """Return the delivery of a tag."""
        return self._settler.in_flight.get(delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge the message of a tag."""
        self.channel.basic_ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Reject the message of a tag."""
        self.channel.basic_reject(delivery_tag, requeue=requeue)

    def restore_unacked(self) -> list[Any]:
        """Make all unsettled messages visible again."""
        self._settler.release_all()
        return []

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Make all unsettled messages visible again."""
        self._settler.release_all()


class Channel(Declarations):
    """A channel on SQS."""

    Message = SqsMessage
    QoS = QoS
    body_encoding = None
    from_transport_options = ()
    supports_fanout = False
    #: Where messages that are published are gathered instead of sent; for `bulk`.
    gathered: list[Addressed] | None = None

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._engine: Engine = connection.engine
        self.options = connection.options
        self._callbacks: dict[str, Callable[[Any], Any]] = {}
        self._no_ack: set[str] = set()
        self._settler: Settler | None = None
        self._ended = False

    @property
    def engine(self) -> Engine:
        """This process's engine."""
        # A closed channel has lost its connection, and may still be asked.
        if self.connection is not None:
            self._engine = self.connection.engine
        return self._engine

    @property
    def settler(self) -> Settler:
        """The consuming side, made when it is first needed: it ends messages."""
        if self._settler is None:
            arrived = partial(self.connection.arrived, self)
            self._settler = Settler(self.engine, self.connection.liveness, arrived)
        return self._settler

    # -- publishing

    def basic_publish(
        self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any
    ) -> Any:
        """Send one message and wait until SQS has confirmed it.

        Raises
        ------
        QueueUnreachable
            SQS did not confirm within `send_timeout`; the message may be queued.
        QueueNotFound
            The queue does not exist, or none is bound.
        MessageTooLarge
            The message exceeds one SQS message.
        NotSupported
            The exchange is a fanout, as that of the remote control.
        MessageRefused
            No worker would read it.
        """
        if not isinstance(message, dict):  # `celery amqp`
            raise NotSupported(EXCHANGES)
        if exchange and self.typeof(exchange).type == "fanout":
            raise on_broadcast(exchange, message)
        self._inplace_augment_message(message, exchange, routing_key)
        queues = [routing_key] if not exchange else self._lookup(exchange, routing_key)
        if not any(queues) and self.typeof(exchange).type == "direct":
            raise QueueNotFound(
                f"No queue is bound to exchange {exchange!r} by {routing_key!r}; name the queue."
            )
        messages = [(queue, message) for queue in queues if queue]
        if self.gathered is not None:
            self.gathered += messages
            return
        for error in self._send(messages):
            if error is not None:
                raise error

    def compose(self, queue: str, message: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of the SQS entry that a prepared message would be sent as.

        Makes no call: for callers that keep the message elsewhere first.

        Returns
        -------
        dict
            `MessageBody`, `MessageAttributes`, and on FIFO queues the group and
            deduplication ids.

        Raises
        ------
        MessageTooLarge
            The message exceeds one SQS message.
        """
        self._inplace_augment_message(message, "", queue)
        name = self.options.sqs_name(queue)
        return entry_fields(
            message, fifo=name.endswith(".fifo"), options=self.options, now=AWS_CLOCK()
        )[0]

    def send_gathered(self, messages: list[Addressed]) -> list[TransportError | None]:
        """Send what was gathered; return what went wrong with each, or None.

        The messages share calls of ten, several under way at once. Nothing is
        raised for a single message, so that the caller knows each one's fate.
        """
        return self._send(messages)

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        for error in self._send([(queue, message)]):
            if error is not None:
                raise error

    def _send(self, messages: Sequence[Addressed]) -> list[TransportError | None]:
        """Send messages to their queues, all at once; return what went wrong with each, or None."""
        results: list[TransportError | None] = []
        waiting: list[tuple[int, Batcher, BatchEntry, Future[EntryResult]]] = []
        for queue, message in messages:
            results.append(None)
            try:
                url = self.engine.patient_url(queue)
                fifo = url.endswith(".fifo")
                if not is_plain(message, self.options.max_depth):
                    check_readable(message, self.options)
                fields, size = entry_fields(
                    message, fifo=fifo, options=self.options, now=AWS_CLOCK()
                )
            except TransportError as error:
                results[-1] = error
                continue
            except (TypeError, ValueError) as error:  # a header or property that no JSON can say
                results[-1] = MessageRefused(f"The message is no JSON: {error}; change it.")
                continue
            future: Future[EntryResult] = Future()
            entry = BatchEntry(
                fields,
                done=future.set_result,
                deadline=time.monotonic() + self.options.send_timeout,
                size=size,
                group=fields.get("MessageGroupId") if fifo else None,
            )
            batcher = self.engine.calls(url).send
            # By this thread only what one call's own time-outs end before the caller's.
            batcher.submit(entry, here=len(messages) == 1 and self.options.lone_here)
            waiting.append((len(results) - 1, batcher, entry, future))
        for number, batcher, entry, future in waiting:
            try:
                outcome = future.result(max(0.0, entry.deadline - time.monotonic()))
            except FutureTimeoutError:
                batcher.cancel(entry)
                results[number] = QueueUnreachable()
                continue
            if not outcome.ok:
                results[number] = self._refused(messages[number][0], outcome)
        return results

    def _refused(self, queue: str, outcome: EntryResult) -> TransportError:
        """Return what it means that SQS refused an entry."""
        if outcome.code in GONE:
            self.engine.forget_url(queue)
            return QueueNotFound(f"SQS queue {queue!r} does not exist (any more); create it.")
        if "TooLong" in outcome.code:
            return MessageTooLarge()
        return QueueUnreachable(
            f"SQS did not take the message ({outcome.code}); it is safe to send it again."
        )

    def encode_body(self, body: Any, encoding: str | None = None) -> tuple[Any, str | None]:
        """Send text as it is; bytes (compressed bodies) as base64."""
        if isinstance(body, bytes):
            try:
                return body.decode("ascii"), None
            except UnicodeDecodeError:
                return self.codecs["base64"].encode(body), "base64"
        return body, encoding

    # -- consuming

    def basic_consume(
        self,
        queue: str,
        no_ack: bool,
        callback: Callable[[Any], Any],
        consumer_tag: str,
        **kwargs: Any,
    ) -> None:
        """Receive from a queue.

        Raises
        ------
        NotSupported
            It would be made for the purpose, as those of events and answers.
        """
        if queue in self.transient:
            raise on_transient_queue(queue)
        self._tag_to_queue[consumer_tag] = queue
        self._active_queues.append(queue)
        self._consumers.add(consumer_tag)
        self._callbacks[queue] = callback
        if no_ack:
            self._no_ack.add(queue)
        self.connection.before_consuming(queue)
        self.settler.consume(queue)

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop receiving from a queue; release the messages that were not started."""
        if consumer_tag not in self._consumers:
            return
        self._consumers.discard(consumer_tag)
        queue = self._tag_to_queue.pop(consumer_tag, None)
        if queue is None:
            return
        if queue in self._active_queues:
            self._active_queues.remove(queue)
        self._callbacks.pop(queue, None)
        self._no_ack.discard(queue)
        self.settler.cancel(queue)

    def deliver(self, delivery: Delivery) -> None:
        """Hand one received message to Celery. Never raises an `Exception`.

        What is not a task message becomes a dead letter here; what is due later
        goes back; a FIFO group's second message waits.
        """
        if delivery.state is not MessageState.RECEIVED:
            return
        try:
            message = self._open(delivery)
            if message is None:
                return
            callback = self._callbacks.get(delivery.queue)
            if callback is None:
                self.settler.release(delivery.token)
                return
        except Malformed as finding:
            self._malformed(delivery, finding.kind)
            return
        except Exception as error:  # noqa: BLE001 - whatever a message does, the worker lives
            # The class alone: the text of a parser's error quotes what it parsed.
            logger.warning(
                "Message %s could not be read: %s", delivery.message_id, type(error).__name__
            )
            self._malformed(delivery, type(error).__name__)
            return
        try:
            callback(message)
        except Exception as error:  # noqa: BLE001 - whatever a message does, the worker lives
            logger.warning(
                "Celery could not take message %s: %s", delivery.message_id, type(error).__name__
            )
            if delivery.state is MessageState.RECEIVED:
                self._malformed(delivery, type(error).__name__)
            return
        if delivery.queue in self._no_ack:
            self.settler.settle(delivery.token, Ack())

    def _open(self, delivery: Delivery) -> SqsMessage | None:
        payload = decode(delivery.body, max_depth=self.options.max_depth)
        self.settler.copier.read(delivery, payload)
        headers = payload.get("headers")
        if isinstance(headers, dict):
            job, task = headers.get("id"), headers.get("task")
            delivery.job = job if isinstance(job, str) and len(job) <= 255 else None
            delivery.task = task if isinstance(task, str) and len(task) <= 255 else None
        check_message(
            payload,
            accept=self.options.accept,
            max_depth=self.options.max_depth,
            inflated_bytes=self.options.inflated_bytes,
            strict=self.options.headers is not None,
        )
        if delivery.job is None and len(payload["headers"]["id"]) <= 255:
            delivery.job = payload["headers"]["id"]  # it was a number
        if self.options.headers is not None:
            obeyed = self.options.headers
            headers = payload["headers"]
            payload["headers"] = {
                name: headers[name] for name in headers if name in obeyed
            } | _MASKS
            payload["properties"] = {"delivery_info": {}}
        eta = eta_of(payload["headers"])
        early = 0.0 if eta is None else eta - AWS_CLOCK()
        if early > 0:
            # However close it is: Celery promises "not before". Visibility counts in
            # whole seconds, and SQS may be early by the fraction it does not keep.
            self.settler.wait_until_due(delivery.token, early)
            return None
        # Written out, as all that each message passes.
        if (
            delivery.receive_count > self.options.unproven_receives
            and self.options.headers is None
            and self._is_deadly(delivery)
        ):
            return None
        return SqsMessage.of(payload, delivery, self)

    def _is_deadly(self, delivery: Delivery) -> bool:
        """Dead-letter a message that may have killed too many workers; nobody else can."""
        found = delivery.unproven(AWS_CLOCK(), self.options.lease)
        if found < self.options.unproven_receives:
            return False
        letter = DeadLetter(
            reason=Reason.CRASHED,
            cause="process-died",
            error="WorkerLost",
            attempts=found,
            job=delivery.job,
        )
        self.settler.settle(delivery.token, letter, recorded=False)
        return True

    def _malformed(self, delivery: Delivery, kind: str) -> None:
        letter = DeadLetter(reason=Reason.MALFORMED, cause=kind, error=kind, job=delivery.job)
        self.settler.settle(delivery.token, letter, recorded=False)

    # -- how a delivery ends, as kombu's messages ask for it

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Delete the message, in a batch, soon."""
        self.settler.settle(delivery_tag, Ack())

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Dead-letter the message as `rejected`, or make it visible again after a second."""
        outcome = Retry(1) if requeue else DeadLetter(reason=Reason.REJECTED)
        self.settler.settle(delivery_tag, outcome, recorded=False, requeued=requeue)

    # -- kombu's blocking side

    def drain_events(self, timeout: float | None = None, callback: Any = None) -> None:
        """Have the transport deliver what has arrived."""
        if not self.connection.deliver_ready():
            raise Empty

    def close(self) -> None:
        """Release the messages that are not finished, confirm the rest, and stop."""
        if self._ended:
            return
        self._ended = self.closed = True
        for tag in list(self._consumers):
            self.basic_cancel(tag)
        if self._settler is not None and self._settler.engine.pid == os.getpid():
            self._settler.close()
        if self.connection is not None:
            self.connection.close_channel(self)
        self.exchange_types = None
