"""Threads that receive messages of one queue.

One long poll when idle; when receives come back full, helpers join, and stay while
receives bring enough on average: SQS answers short now and then, however many
messages wait. Every call has a time-out; every error is counted and backed
off from. A receiver never ends because of an error, and never raises.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from sealwax.aws.backoff import jittered
from sealwax.aws.clock import AWS_CLOCK
from sealwax.aws.errors import error_code, is_gone
from sealwax.transport.engine import Engine
from sealwax.transport.errors import QueueNotFound
from sealwax.transport.fifo import FifoGroups
from sealwax.transport.in_flight import Delivery, InFlight
from sealwax.transport.liveness import Liveness

__all__ = ["Receivers"]

logger = logging.getLogger(__name__)

#: How long a receiver waits for a slot before it looks whether it should stop.
SLOT_WAIT = 2.0

#: Seconds that a helper's receive waits: SQS asks all of its hosts then, and a receive that
#: does not wait asks some, so that it comes back short though messages are there.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
HELPER_WAIT = 1

#: Share of what a queue's receives ask for that they must bring, on average, for helpers to
#: stay. Evenly spread short answers bring 0.55; at 0.4 a job costs a quarter of a receive.
ENOUGH = 0.4

#: Weight of the latest receive in that average: about the last ten count.
LATEST = 0.1

#: Seconds for which SQS answers a repeated receive of a FIFO queue as it did the first time.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
ATTEMPT_SECONDS = 300


class Receivers:
    """The receiving threads of one queue.

    Parameters
    ----------
    queue
        Logical name.
    groups
        Joined in the order of arrival, before anything that arrived can finish.
    arrived
        Takes those of one receive that may run now; called from the receiving thread.
    give_up
        Takes what arrived after `stop`: to be made visible again.
    """

    def __init__(
        self,
        engine: Engine,
        queue: str,
        in_flight: InFlight,
        groups: FifoGroups,
        liveness: Liveness,
        *,
        arrived: Callable[[list[Delivery]], None],
        give_up: Callable[[list[Delivery]], None],
    ) -> None:
        self._engine = engine
        self._queue = queue
        self._in_flight = in_flight
        self._groups = groups
        self._liveness = liveness
        self._arrived = arrived
        self._give_up = give_up
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._helpers = 0
        self._failures = 0
        #: Share of what was asked for that the latest receives brought, on average.
        self._brought = 0.0
        #: Of a FIFO queue's receive whose answer was lost: its attempt's id, slots and time.
        self._lost: tuple[str, int, float] | None = None

    def start(self) -> None:
        """Start the first receiving thread."""
        self._liveness.watch(self._queue)
        threading.Thread(
            target=self._main, name=f"sealwax-receive-{self._queue}", daemon=True
        ).start()

    def stop(self) -> None:
        """Receive no more. A poll under way ends by itself; what it brings is given up."""
        self._stop.set()
        self._in_flight.wake()
        self._liveness.forget(self._queue)

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def _main(self) -> None:
        while not self._stop.is_set():
            try:
                if self._receive(self._engine.options.wait_time):
                    self._maybe_help()
            except Exception:
                logger.exception("Receiving from %s failed unexpectedly", self._queue)
                self._stop.wait(1)

    def _maybe_help(self) -> None:
        with self._lock:
            if self._helpers >= self._engine.options.receivers - 1 or self._stop.is_set():
                return
            if self._in_flight.free() < 10:
                return
            self._helpers += 1
        threading.Thread(
            target=self._help, name=f"sealwax-receive-{self._queue}-helper", daemon=True
        ).start()

    def _help(self) -> None:
        try:
            while not self._stop.is_set() and self._receive(HELPER_WAIT, helper=True):
                self._maybe_help()
        finally:
            with self._lock:
                self._helpers -= 1

    def _receive(self, wait: int, *, helper: bool = False) -> bool:
        """Make one receive; return whether there is work for one more."""
        slots = self._in_flight.reserve(10, 0.2 if helper else SLOT_WAIT)
        if not slots:
            self._liveness.finished(self._queue)
            return False
        if self._stop.is_set():
            # The slots may be those of what was just released: not to be taken again.
            self._in_flight.return_slots(slots)
            return False
        if self._in_flight.contended and wait:
            # Another queue waits for the slots that this poll would keep.
            wait = 1
        received: list[Delivery] | None = None
        try:
            messages = self._call(slots, wait)
            # All tokens by one call to the kernel: each call hands the interpreter to a rival.
            tokens = secrets.token_hex(16 * len(messages))
            received = [
                self._delivery(message, tokens[32 * index : 32 * index + 32])
                for index, message in enumerate(messages)
            ]
        except Exception as error:  # noqa: BLE001 - nothing ends a receiver
            self._failed(error)
            return False
        finally:
            if received is None:
                self._in_flight.return_slots(slots)
        self._failures = 0
        self._engine.counters.add("receives")
        self._engine.counters.add("received", len(received))
        self._liveness.succeeded(self._queue)
        self._in_flight.add(received, slots)
        if not received:
            self._engine.counters.add("empty")
        elif self._stop.is_set():
            self._give_up(received)
        else:
            self._arrived([each for each in received if self._groups.admit(each)])
        return self._plenty(len(received), slots)

    def _plenty(self, received: int, slots: int) -> bool:
        """Whether a receive, and those before it, say that many messages wait."""
        with self._lock:
            self._brought += LATEST * (received / slots - self._brought)
            return received >= slots or (received > 0 and self._brought >= ENOUGH)

    def _call(self, slots: int, wait: int) -> list[dict[str, Any]]:
        parameters: dict[str, Any] = {}
        attempt = None
        if self._queue.endswith(".fifo"):
            attempt = self._attempt(slots)
            parameters["ReceiveRequestAttemptId"] = attempt[0]
        try:
            response = self._engine.polling.receive_message(
                QueueUrl=self._engine.url(self._queue),
                MaxNumberOfMessages=slots,
                WaitTimeSeconds=wait,
                VisibilityTimeout=int(self._engine.options.lease),
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
                **parameters,
            )
        except ClientError:
            raise  # SQS has answered: nothing was received
        except Exception:
            # SQS may have given messages, whose groups it holds back until they are seen.
            with self._lock:
                self._lost = attempt
            raise
        return response.get("Messages") or []

    def _attempt(self, slots: int) -> tuple[str, int, float]:
        """Return id, slots and time of a FIFO queue's receive: the lost one's, or new ones."""
        now = time.monotonic()
        with self._lock:
            lost, self._lost = self._lost, None
        # What it brings must have room, and its lease must not have ended.
        if lost is not None and lost[1] <= slots:
            seconds = min(ATTEMPT_SECONDS, self._engine.options.lease)
            if now - lost[2] < seconds:
                return lost
        return secrets.token_hex(16), slots, now

    def _failed(self, error: Exception) -> None:
        code = "QueueNotFound" if isinstance(error, QueueNotFound) else error_code(error)
        self._engine.counters.add(f"failures.receive.{code}")
        if is_gone(error):
            self._engine.forget_url(self._queue)
        self._liveness.failed(self._queue)
        pause = jittered(self._failures)
        if self._failures in {0, 10, 100} or self._failures % 1_000 == 0:
            logger.warning(
                "Receiving from %s failed (%s), attempt %d; trying again",
                self._queue,
                code,
                self._failures + 1,
            )
        self._failures += 1
        self._stop.wait(pause)

    def _delivery(self, message: dict[str, Any], token: str) -> Delivery:
        system = message.get("Attributes") or {}
        now = time.monotonic()
        return Delivery(
            token=token,
            queue=self._queue,
            receipt=message["ReceiptHandle"],
            message_id=str(message.get("MessageId", "")),
            body=message.get("Body") or "",
            attributes=message.get("MessageAttributes") or {},
            receive_count=_number(system.get("ApproximateReceiveCount"), 1),
            sent_at=_number(system.get("SentTimestamp"), 0) / 1_000,
            first_received_at=_number(system.get("ApproximateFirstReceiveTimestamp"), 0) / 1_000
            or AWS_CLOCK(),
            received_at=now,
            lease_until=now + self._engine.options.lease,
            group=system.get("MessageGroupId"),
        )


def _number(value: Any, default: int) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return default
