"""Threads that receive: one long poll a queue when idle, more while receives come back full.

Whatever AWS or the network does, a receiver backs off and goes on: it never
ends the worker. Each attempt, good or bad, is noted for the liveness check.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any

from sealwax.transport.client import backoff, describe, is_gone
from sealwax.transport.forks import gate
from sealwax.transport.held import Delivery

if TYPE_CHECKING:
    from sealwax.transport.engine import Engine

__all__ = ["Receivers"]

logger = logging.getLogger(__name__)

#: Messages one receive may bring.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
MOST = 10

#: Seconds a receiver waits for free slots before it looks whether it should end.
_SLOT_WAIT = 1.0


class Receivers:
    """The receiving threads of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._running: dict[str, set[threading.Thread]] = {}
        self._closed = False
        #: Epoch seconds of each queue's last attempt, and of its last success.
        self.last_attempt: dict[str, float] = {}
        self.last_success: dict[str, float] = {}

    def start(self, queue: str) -> None:
        """Receive from a queue with one thread; idempotent."""
        with self._lock:
            if queue in self._running:
                return
            self._running[queue] = set()
            self._add(queue, first=True)

    def stop(self, queue: str) -> None:
        """Let a queue's threads end; what a poll under way brings is given back."""
        with self._lock:
            self._running.pop(queue, None)
        self._engine.held.wake()

    def close(self) -> None:
        """Stop all."""
        self._closed = True
        with self._lock:
            self._running.clear()
        self._engine.held.wake()

    def _add(self, queue: str, *, first: bool) -> None:
        thread = threading.Thread(
            target=self._run, args=(queue, first), name=f"sealwax-receive-{queue}", daemon=True
        )
        self._running[queue].add(thread)
        thread.start()

    def _wanted(self, queue: str) -> bool:
        with self._lock:
            return threading.current_thread() in self._running.get(queue, ())

    def _run(self, queue: str, first: bool) -> None:  # noqa: FBT001 - a thread's argument
        failures = 0
        held = self._engine.held
        while self._wanted(queue):
            slots = held.reserve(MOST, _SLOT_WAIT)
            if not slots:
                if not first:
                    break
                continue
            try:
                messages = self._receive(queue, slots)
            except Exception as error:
                held.give_back(slots)
                self.last_attempt[queue] = time.time()
                code = describe(error)
                with gate():
                    self._engine.counters.add(f"failures.receive.{code}")
                    if failures == 0 or failures % 30 == 0:
                        logger.warning("receive failed", extra={"queue": queue, "code": code})
                if is_gone(error):
                    self._engine.forget_url(queue)
                failures += 1
                self._pause(queue, backoff(failures))
                continue
            failures = 0
            self.last_attempt[queue] = self.last_success[queue] = time.time()
            with gate():
                self._take(queue, messages, slots)
            if len(messages) == slots:
                self._help(queue)
            elif not first:
                break
        with self._lock:
            self._running.get(queue, set()).discard(threading.current_thread())

    def _help(self, queue: str) -> None:
        with self._lock:
            running = self._running.get(queue)
            if running is None or len(running) >= self._engine.options.receivers:
                return
            if self._engine.held.free() >= MOST:
                self._add(queue, first=False)

    def _pause(self, queue: str, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._wanted(queue) and time.monotonic() < until:
            time.sleep(min(0.1, max(0.0, until - time.monotonic())))

    def _receive(self, queue: str, slots: int) -> list[dict[str, Any]]:
        options = self._engine.options
        answer = self._engine.clients.polling.receive_message(
            QueueUrl=self._engine.url(queue),
            MaxNumberOfMessages=slots,
            WaitTimeSeconds=options.wait_time,
            VisibilityTimeout=int(options.lease),
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        found: list[dict[str, Any]] = answer.get("Messages") or []
        return found

    def _take(self, queue: str, messages: list[dict[str, Any]], slots: int) -> None:
        engine = self._engine
        engine.counters.add("receives")
        engine.counters.add("received", len(messages))
        if not messages:
            engine.counters.add("empty")
        deliveries = [self._delivery(queue, message) for message in messages]
        engine.held.add(deliveries, slots)
        if self._closed or not self._wanted(queue):
            for delivery in deliveries:
                engine.postpone(delivery.token, 0)
            return
        if deliveries:
            engine.arrived(deliveries)

    def _delivery(self, queue: str, message: dict[str, Any]) -> Delivery:
        now = time.monotonic()
        system = message.get("Attributes") or {}
        return Delivery(
            token=secrets.token_hex(16),
            queue=queue,
            receipt=message["ReceiptHandle"],
            message_id=message["MessageId"],
            body=message.get("Body") or "",
            attributes={
                name: {
                    key: value[key]
                    for key in ("DataType", "StringValue", "BinaryValue")
                    if key in value
                }
                for name, value in (message.get("MessageAttributes") or {}).items()
            },
            receive_count=int(system.get("ApproximateReceiveCount") or 1),
            sent_at=_epoch(system.get("SentTimestamp")),
            first_received_at=_epoch(system.get("ApproximateFirstReceiveTimestamp")),
            received_at=now,
            lease_until=now + self._engine.options.lease,
            group=system.get("MessageGroupId"),
        )


def _epoch(milliseconds: str | None) -> float:
    return int(milliseconds) / 1000 if milliseconds else time.time()
