"""One process's link to SQS: sends, receives, and settles what was received.

A `Channel` of kombu is a thin face of this. Calls that wait for the network
are made by background threads and shared ten to a call; the event loop never
waits. Settling means acknowledge (delete), postpone (visible later) or
dead-letter (send to the dead-letter queue, then delete): each delivery once.

After a fork the child calls nothing of the parent's: `Engine.shared` makes a
new one.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sealwax.transport.batcher import Batcher
from sealwax.transport.batching import Entry, Outcome
from sealwax.transport.client import Clients, is_gone
from sealwax.transport.counters import Counters
from sealwax.transport.dead_letters import ATTRIBUTE, DeadLetter, DeadLetterReason
from sealwax.transport.errors import (
    DeadLetterQueueMissing,
    MessageTooLarge,
    QueueNotFound,
    QueueUnreachable,
)
from sealwax.transport.forks import gate
from sealwax.transport.held import Delivery, Held, State
from sealwax.transport.leases import LeaseKeeper
from sealwax.transport.options import MAX_DELAY, MAX_VISIBILITY, Options
from sealwax.transport.receiver import Receivers

__all__ = ["Engine"]

logger = logging.getLogger(__name__)

#: SQS allows ten attributes a message; one is ours.
_OTHER_ATTRIBUTES = 9

#: Errors of one entry after which the same entry may succeed later.
_ENTRY_RETRYABLE = frozenset(
    {"InternalError", "ServiceUnavailable", "RequestThrottled", "Throttling", "ThrottlingException"}
)

#: How long a delete or a dead letter is tried again; the lease is renewed meanwhile.
_SETTLE_SECONDS = 600.0


class Engine:
    """Sends and receives for one process.

    Parameters
    ----------
    options
        The transport's options.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.counters = Counters()
        self.held = Held()
        self._clients = Clients(options)
        self._lock = threading.RLock()
        self._urls: dict[str, str] = {}
        self._dead_letter_names: dict[str, str] = {}
        self._batchers: dict[tuple[str, str], Batcher] = {}
        self._inbox: deque[Delivery] = deque()
        self._wake = os.pipe()
        for end in self._wake:
            os.set_blocking(end, False)
        self._awake = False
        self._inbox_ready = threading.Condition(self._lock)
        self._receivers = Receivers(self)
        self._leases = LeaseKeeper(self)
        self._aside: ThreadPoolExecutor | None = None
        self.closed = False
        self._pid = os.getpid()
        gate()

    # -- sharing in a process ------------------------------------------------------

    @classmethod
    def shared(cls, options: Options) -> Engine:
        """Return this process's engine for these options: producers share their calls."""
        key = (os.getpid(), repr(options))
        with _shared_lock:
            for other in [other for other in _shared if other[0] != key[0]]:
                del _shared[other]  # the parent's: not to be touched
            engine = _shared.get(key)
            if engine is None or engine.closed:
                engine = _shared[key] = cls(options)
                atexit.register(engine.close_at_exit)
            return engine

    # -- sending -------------------------------------------------------------------

    def send(
        self,
        queue: str,
        body: str,
        *,
        delay: float = 0,
        group: str | None = None,
        dedup: str | None = None,
    ) -> str:
        """Send one message; return its SQS id once SQS has confirmed it.

        Parameters
        ----------
        queue
            Logical name.
        delay
            Seconds, at most 900; not on FIFO queues.

        Raises
        ------
        QueueUnreachable, QueueNotFound, MessageTooLarge
        """
        size = len(body.encode())
        if size > self.options.message_bytes:
            raise MessageTooLarge(
                f"The message has {size} bytes, at most {self.options.message_bytes} are sent; "
                "send a reference instead of the data."
            )
        fields: dict[str, Any] = {"MessageBody": body}
        name = self._sqs_name(queue)
        if name.endswith(".fifo"):
            fields["MessageGroupId"] = group or "default"
            if dedup:
                fields["MessageDeduplicationId"] = dedup
        else:
            if group and self.options.fair_queues:
                fields["MessageGroupId"] = group
            if delay > 0:
                fields["DelaySeconds"] = min(round(delay), MAX_DELAY)
        outcome = self._send_and_wait(
            queue, fields, size, group if name.endswith(".fifo") else None
        )
        return outcome.message_id

    def _send_and_wait(
        self, queue: str, fields: dict[str, Any], size: int, group: str | None
    ) -> Outcome:
        finished = threading.Event()
        found: list[Outcome] = []

        def done(outcome: Outcome) -> None:
            found.append(outcome)
            finished.set()

        deadline = time.monotonic() + self.options.send_timeout
        entry = Entry(fields=fields, done=done, deadline=deadline, size=size, group=group)
        batcher = self._batcher("send", queue)
        batcher.submit(entry)
        if not finished.wait(self.options.send_timeout) and not batcher.cancel(entry):
            # A call carries it now: its answer says more than giving up would.
            finished.wait(self.options.read_timeout + self.options.connect_timeout)
        if not found:
            raise QueueUnreachable(
                f"SQS did not confirm a message to {queue} within {self.options.send_timeout} s; "
                "it may or may not be queued."
            )
        outcome = found[0]
        if outcome.ok:
            return outcome
        if outcome.code == "QueueNotFound":
            raise QueueNotFound(
                f"There is no SQS queue {self._sqs_name(queue)}; create it, or name it in "
                'broker_transport_options["queues"].'
            )
        if outcome.code in ("InvalidMessageContents", "BatchRequestTooLong", "MessageTooLong"):
            raise MessageTooLarge(f"SQS refused the message ({outcome.code}).")
        raise QueueUnreachable(
            f"SQS does not take messages for {queue} now ({outcome.code}); send it again later."
        )

    # -- receiving -----------------------------------------------------------------

    @property
    def wake_fd(self) -> int:
        """Descriptor that is readable while deliveries wait."""
        return self._wake[0]

    def consume(self, queue: str) -> None:
        """Start to receive from a queue."""
        self._leases.start()
        self._receivers.start(queue)

    def cancel(self, queue: str) -> None:
        """Stop to receive from a queue."""
        self._receivers.stop(queue)

    def arrived(self, deliveries: Sequence[Delivery]) -> None:
        """Take what a receiver brought (called by its thread)."""
        with self._inbox_ready:
            self._inbox.extend(deliveries)
            self._inbox_ready.notify_all()
            self.signal()

    def signal(self) -> None:
        """Make the wake-up descriptor readable."""
        if not self._awake:
            self._awake = True
            try:
                os.write(self._wake[1], b"x")
            except (BlockingIOError, OSError):
                pass  # full: it is readable anyway

    def next_delivery(self, timeout: float = 0) -> Delivery | None:
        """Return the next delivery for the main loop, waiting up to `timeout` seconds."""
        with self._inbox_ready:
            if not self._inbox and timeout > 0:
                self._inbox_ready.wait(timeout)
            if not self._inbox:
                if self._awake:
                    self._awake = False
                    try:
                        os.read(self._wake[0], 64)
                    except (BlockingIOError, OSError):
                        pass
                return None
            return self._inbox.popleft()

    @property
    def clients(self) -> Clients:
        """The process's SQS clients."""
        return self._clients

    # -- settling --------------------------------------------------------------------

    def acknowledge(self, token: str) -> None:
        """Delete a message: its outcome is recorded."""
        delivery = self.held.settle(token)
        if delivery is not None:
            self.counters.add("acknowledged")
            self._delete(delivery)

    def postpone(self, token: str, seconds: float) -> None:
        """Make the same message visible again after `seconds`."""
        delivery = self.held.settle(token)
        if delivery is not None:
            self.counters.add("postponed")
            self._change_visibility(delivery, seconds)

    def release_unstarted(self) -> int:
        """Give back at once everything that was not started; return how many."""
        with self._lock:
            self._inbox.clear()
        found = self.held.settle_unstarted()
        for delivery in found:
            self._change_visibility(delivery, 0)
        self.counters.add("released", len(found))
        return len(found)

    def dead_letter(self, token: str, reason: DeadLetterReason, *, announce: bool = False) -> None:
        """Move a message to the dead-letter queue with its reason, then delete it.

        Parameters
        ----------
        announce
            Whether `on_dead_letter` must hear of it first: true where the
            transport decided itself and no ledger knows.
        """
        delivery = self.held.settle(token)
        if delivery is None:
            return
        self.counters.add(f"quarantined.{reason.reason}")
        logger.warning(
            "dead-lettering a message",
            extra={"queue": delivery.queue, "reason": reason.reason, "job": reason.job},
        )
        self.aside(lambda: self._dead_letter(delivery, reason, announce=announce))

    def _dead_letter(self, delivery: Delivery, reason: DeadLetterReason, *, announce: bool) -> None:
        hook = self.options.on_dead_letter
        try:
            if announce and hook is not None:
                hook(
                    DeadLetter(
                        reason=reason,
                        job=delivery.job,
                        task=delivery.task,
                        queue=delivery.queue,
                        message_id=delivery.message_id,
                        receive_count=delivery.receive_count,
                        body_bytes=len(delivery.body),
                    )
                )
            target = self._dead_letter_queue(delivery.queue)
        except Exception as error:  # the hook is the application's
            # Not recorded, so not moved: it comes back and is tried again.
            logger.warning("dead-lettering waits", extra={"error": type(error).__name__})
            self._change_visibility(delivery, 5)
            return
        kept = dict(list(delivery.attributes.items())[:_OTHER_ATTRIBUTES])
        kept[ATTRIBUTE] = {
            "DataType": "String",
            "StringValue": reason.to_json(
                queue=delivery.queue,
                at=round(time.time(), 3),
                message_id=delivery.message_id,
                receives=delivery.receive_count,
            ),
        }
        fields: dict[str, Any] = {"MessageBody": delivery.body, "MessageAttributes": kept}
        if target.endswith(".fifo"):
            fields["MessageGroupId"] = delivery.group or "default"
            fields["MessageDeduplicationId"] = delivery.message_id

        def done(outcome: Outcome) -> None:
            if outcome.ok:
                self._delete(delivery)
                return
            logger.error(
                "the dead-letter queue refuses a message",
                extra={"queue": target, "code": outcome.code, "message_id": delivery.message_id},
            )
            self._change_visibility(delivery, 60)

        self._batcher("send", target).submit(
            Entry(
                fields=fields,
                done=done,
                deadline=time.monotonic() + _SETTLE_SECONDS,
                size=len(delivery.body.encode()) + 1_024,
                group=delivery.group if target.endswith(".fifo") else None,
            )
        )

    def _delete(self, delivery: Delivery) -> None:
        self._batcher("delete", delivery.queue).submit(
            Entry(
                fields={"ReceiptHandle": delivery.receipt},
                done=lambda _: self.held.done(delivery),
                deadline=time.monotonic() + _SETTLE_SECONDS,
            )
        )

    def _change_visibility(self, delivery: Delivery, seconds: float) -> None:
        # SQS counts the 12 hours from the receive; a second is kept for the way.
        age = time.monotonic() - delivery.received_at
        timeout = max(0, min(round(seconds), int(MAX_VISIBILITY - age - 1)))
        self._batcher("visibility", delivery.queue).submit(
            Entry(
                fields={"ReceiptHandle": delivery.receipt, "VisibilityTimeout": timeout},
                done=lambda _: self.held.done(delivery),
                deadline=time.monotonic() + max(self.options.lease, 5.0),
            )
        )

    def renew(self, delivery: Delivery, done: Callable[[Outcome], None]) -> None:
        """Renew one lease (called by the lease keeper)."""
        self._batcher("visibility", delivery.queue).submit(
            Entry(
                fields={
                    "ReceiptHandle": delivery.receipt,
                    "VisibilityTimeout": int(self.options.lease),
                },
                done=done,
                deadline=delivery.lease_until,
                # Settled meanwhile: its own visibility change must be the last.
                skip=lambda: delivery.state is State.GONE,
            )
        )

    # -- work beside the main loop -------------------------------------------------

    def aside(self, work: Callable[[], None]) -> None:
        """Run something that may wait for the network, not on the main loop."""

        def guarded() -> None:
            try:
                work()
            except Exception as error:
                logger.warning("work aside failed", extra={"error": type(error).__name__})

        with self._lock:
            if self._aside is None:
                self._aside = ThreadPoolExecutor(4, thread_name_prefix="sealwax-aside")
            try:
                self._aside.submit(guarded)
                return
            except RuntimeError:
                pass  # the interpreter is ending: do it here
        guarded()

    # -- ending --------------------------------------------------------------------

    def close(self) -> None:
        """Stop receiving, give back what was not started, and wait for what is under way."""
        if self.closed:
            return
        self._receivers.close()
        self.release_unstarted()
        if self._aside is not None:
            self._aside.shutdown(wait=True)
        until = time.monotonic() + self.options.drain_timeout
        # Dead letters are sent first, then deleted: two rounds.
        for _ in range(2):
            for batcher in list(self._batchers.values()):
                batcher.flush(max(0.0, until - time.monotonic()))
        self._leases.close()
        self.closed = True
        for batcher in self._batchers.values():
            batcher.close()
        logger.info("transport closed", extra={"counters": self.counters.snapshot()})

    def close_at_exit(self) -> None:
        """Close when the process that made it ends; a forked child leaves it alone."""
        if os.getpid() == self._pid:
            self.close()

    # -- queues --------------------------------------------------------------------

    def _sqs_name(self, queue: str) -> str:
        return self.options.queue(queue).queue or queue

    def url(self, queue: str) -> str:
        """Return a queue's URL, asked for once.

        Raises
        ------
        botocore's errors
        """
        with self._lock:
            known = self._urls.get(queue) or self.options.queue(queue).url
        if known:
            return known
        url = str(self._clients.quick.get_queue_url(QueueName=self._sqs_name(queue))["QueueUrl"])
        with self._lock:
            self._urls[queue] = url
        return url

    def forget_url(self, queue: str) -> None:
        """Ask for a queue's URL again next time: it was deleted and made anew."""
        with self._lock:
            self._urls.pop(queue, None)

    def _dead_letter_queue(self, queue: str) -> str:
        named = self.options.queue(queue).dead_letter_queue or self._dead_letter_names.get(queue)
        if named:
            return named
        attributes = self._clients.quick.get_queue_attributes(
            QueueUrl=self.url(queue), AttributeNames=["RedrivePolicy"]
        ).get("Attributes", {})
        try:
            arn = str(json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"])
        except (KeyError, ValueError, TypeError):
            raise DeadLetterQueueMissing(
                f"Queue {queue} has no dead-letter queue; give it a RedrivePolicy or set "
                "dead_letter_queue in the transport's options."
            ) from None
        self._dead_letter_names[queue] = arn.rsplit(":", 1)[-1]
        return self._dead_letter_names[queue]

    # -- calls ---------------------------------------------------------------------

    def _batcher(self, kind: str, queue: str) -> Batcher:
        with self._lock:
            batcher = self._batchers.get((kind, queue))
            if batcher is None:
                operation = _CALLS[kind]
                sending = kind == "send"
                batcher = self._batchers[kind, queue] = Batcher(
                    lambda entries: self._call(queue, operation, entries),
                    kind=kind,
                    counters=self.counters,
                    linger=self.options.linger if sending else self.options.settle_linger,
                    immediate=sending or kind == "visibility",
                    concurrency=self.options.senders,
                    max_bytes=self.options.batch_bytes,
                )
            return batcher

    def _call(self, queue: str, operation: str, entries: Sequence[Entry]) -> list[Outcome]:
        try:
            answer = getattr(self._clients.quick, operation)(
                QueueUrl=self.url(queue),
                Entries=[{"Id": str(n), **entry.fields} for n, entry in enumerate(entries)],
            )
        except Exception as error:
            if not is_gone(error):
                raise
            self.forget_url(queue)
            gone = Outcome(ok=False, code="QueueNotFound", retryable=operation != _SEND)
            return [gone] * len(entries)
        outcomes = [Outcome(ok=False, code="NoAnswer", retryable=True)] * len(entries)
        for item in answer.get("Successful", []):
            outcomes[int(item["Id"])] = Outcome(ok=True, message_id=item.get("MessageId", ""))
        for item in answer.get("Failed", []):
            code = str(item.get("Code", "Unknown"))
            outcomes[int(item["Id"])] = Outcome(
                ok=False,
                code=code,
                retryable=not item.get("SenderFault", True) or code in _ENTRY_RETRYABLE,
            )
        return outcomes


_SEND = "send_message_batch"
_CALLS = {
    "send": _SEND,
    "delete": "delete_message_batch",
    "visibility": "change_message_visibility_batch",
}

# One engine a process and options. It holds threads and sockets, which a
# process has once, whatever number of kombu connections it opens.
_shared: dict[tuple[int, str], Engine] = {}
_shared_lock = threading.Lock()


def _after_fork() -> None:
    global _shared_lock  # noqa: PLW0603 - another thread may have held it at the fork
    _shared_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
