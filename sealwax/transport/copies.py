"""Copies of messages: sent, and only then the original is deleted.

For what SQS cannot note on a message that it holds: that a receive was no attempt,
that an attempt crashed, or that the wait is longer than SQS lets one message wait.
Where nothing may be copied this process remembers what it knows of a message.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sealwax.aws.clock import AWS_CLOCK
from sealwax.aws.sqs import message_size
from sealwax.transport.batching import BatchEntry, EntryResult
from sealwax.transport.carried import copy_fields, is_copyable, take_carried
from sealwax.transport.codec import Malformed, encode
from sealwax.transport.engine import Engine
from sealwax.transport.in_flight import Delivery
from sealwax.transport.leases import visibility_left
from sealwax.transport.options import MAX_DELAY

__all__ = ["Copier"]

logger = logging.getLogger(__name__)

#: Messages of which a process remembers how their receives ended.
REMEMBERED = 10_000

#: Seconds before its time at which a message counts as sent too early by SQS or a sender's clock.
CLOSE = 1.5


@dataclass(slots=True)
class _Ends:
    """How receives of one message ended in this process."""

    waits: int = 0
    retries: int = 0
    crashes: int = 0
    unknown: float = 0.0
    requeues: int = 0


class Copier:
    """Copying of one channel's messages.

    Parameters
    ----------
    copied
        Deletes the original.
    refused
        Makes the original visible after so many seconds, after all.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        copied: Callable[[Delivery], None],
        refused: Callable[[Delivery, int], None],
    ) -> None:
        self._engine = engine
        self._copied = copied
        self._refused = refused
        self._lock = threading.Lock()
        self._open: dict[str, Delivery] = {}
        self._ends: OrderedDict[str, _Ends] = OrderedDict()
        self._closed_queues: set[str] = set()

    def read(self, delivery: Delivery, payload: dict[str, Any]) -> None:
        """Note on a delivery what its message carries, and take that out of it.

        So dead letters are what was sent, and begin anew when they are replayed.
        """
        if self._engine.options.headers is not None:
            return
        carried = take_carried(payload)
        if carried is not None:
            delivery.body = encode(payload)
            delivery.carried = carried
            delivery.receive_count += carried.receives
            delivery.first_received_at = carried.first or delivery.first_received_at
        copies = self._engine.options.copy_waits and self._copyable(delivery)
        delivery.proven_only = not copies
        with self._lock:
            ends = self._ends.get(delivery.message_id)
        # Whatever knew its task and postponed it left this message as it is.
        if carried is not None and delivery.receives == 1:
            delivery.unknown_since = carried.unknown
        if ends is not None:
            delivery.waits = ends.waits
            delivery.retries_here = ends.retries
            delivery.crashes_here = ends.crashes
            delivery.unknown_since = ends.unknown
            delivery.requeues_here = ends.requeues

    def wait(self, delivery: Delivery, seconds: int) -> bool:
        """Copy a message that waited and was not started; False: nothing was copied."""
        if self._engine.options.headers is not None:
            return False
        if not self._engine.options.copy_waits or not self._copyable(delivery):
            self._remember(delivery, waits=1)
            return False
        return self._send(delivery, seconds, waits=1, delay=seconds)

    def retry(self, delivery: Delivery, seconds: int) -> bool:
        """Copy a message whose next attempt is further away than SQS keeps it invisible."""
        if self._engine.options.headers is not None:
            return False
        now = AWS_CLOCK()
        if seconds > int(visibility_left(delivery, time.monotonic())):
            self._warn_of_order(delivery)
            sent = self._send(delivery, seconds, retries=1, delay=seconds, due=now + seconds)
            if not sent:
                logger.error(
                    "Message %s on %s is too large for a copy with its time: it comes back early",
                    delivery.message_id,
                    delivery.queue,
                )
            return sent
        self._remember(delivery, retries=1)
        return False

    def crash(self, delivery: Delivery, seconds: int) -> bool:
        """Copy a message whose attempt crashed."""
        return self._count(delivery, seconds, crashes=1)

    def requeue(self, delivery: Delivery, seconds: int) -> bool:
        """Copy a message that its attempt gave back; that is counted apart from retries."""
        return self._count(delivery, seconds, requeues=1)

    def _count(self, delivery: Delivery, seconds: int, **counts: int) -> bool:
        """Have the count of how an attempt ended carried by a copy, or else remembered here."""
        if self._engine.options.headers is not None:
            return False
        if not self._copyable(delivery):
            self._remember(delivery, **counts)
            return False
        return self._send(delivery, seconds, delay=seconds, **counts)

    def early(self, delivery: Delivery, seconds: float) -> int:
        """Copy a message that is not due, unless it can wait as it is; return for how long that is.

        Returns 0 where it was copied: its time in SQS has begun anew.
        """
        whole = -int(-seconds // 1)
        left = int(visibility_left(delivery, time.monotonic()))
        if self._engine.options.headers is not None:
            return min(whole, left)
        retention = self._engine.retention(delivery.queue)
        # A quarter of it is for being received late.
        room = int(delivery.sent_at + retention * 0.75 - AWS_CLOCK()) if delivery.sent_at else left
        hop = min(whole, left, room)
        suffices = hop >= min(whole, MAX_DELAY)
        if not delivery.queue.endswith(".fifo"):
            # One wait of those that have a time is not charged; see `receives_charged`.
            suffices &= delivery.receives == 1 and seconds > CLOSE
        if suffices:
            if delivery.proven_only:
                self._remember(delivery, waits=1)
            return hop
        self._warn_of_order(delivery)
        if self._send(delivery, min(whole, left), delay=min(seconds, retention / 4)):
            return 0
        return min(whole, left)

    def unfinished(self) -> list[Delivery]:
        """Take out, at shutdown, the deliveries without a confirmed copy; they are released."""
        with self._lock:
            found = list(self._open.values())
            self._open.clear()
        return found

    def _copyable(self, delivery: Delivery) -> bool:
        return delivery.queue not in self._closed_queues and is_copyable(
            delivery, self._engine.options
        )

    def _send(
        self,
        delivery: Delivery,
        seconds: int,
        *,
        waits: int = 0,
        retries: int = 0,
        crashes: int = 0,
        requeues: int = 0,
        **how: Any,
    ) -> bool:
        try:
            fields = copy_fields(
                delivery,
                retried=bool(retries),
                crashed=bool(crashes),
                requeued=bool(requeues),
                **how,
            )
        except Malformed:
            return False  # whoever opens it will say so
        size = message_size(fields)
        if size > self._engine.options.message_bytes:
            self._remember(
                delivery, waits=waits, retries=retries, crashes=crashes, requeues=requeues
            )
            return False

        def sent(outcome: EntryResult) -> None:
            with self._lock:
                if self._open.pop(delivery.token, None) is None:
                    return  # it went back to its queue meanwhile: it may run twice
            if outcome.ok:
                self._engine.counters.add("copied")
                self._copied(delivery)
                return
            if not outcome.retryable:
                self._closed_queues.add(delivery.queue)
            logger.warning(
                "The copy of message %s on %s was refused (%s); the message stays",
                delivery.message_id,
                delivery.queue,
                outcome.code,
            )
            self._remember(
                delivery, waits=waits, retries=retries, crashes=crashes, requeues=requeues
            )
            self._refused(delivery, seconds)

        with self._lock:
            self._open[delivery.token] = delivery
        self._engine.calls(self._engine.url(delivery.queue)).letters.submit(
            BatchEntry(
                fields,
                done=sent,
                deadline=time.monotonic() + self._engine.options.send_timeout,
                size=size,
                group=fields.get("MessageGroupId") if delivery.queue.endswith(".fifo") else None,
            )
        )
        return True

    def _remember(
        self,
        delivery: Delivery,
        *,
        waits: int = 0,
        retries: int = 0,
        crashes: int = 0,
        requeues: int = 0,
    ) -> None:
        with self._lock:
            ends = self._ends.setdefault(delivery.message_id, _Ends())
            self._ends.move_to_end(delivery.message_id)
            ends.waits += waits
            ends.retries += retries
            ends.crashes += crashes
            ends.unknown = delivery.unknown_since if waits else 0.0
            ends.requeues += requeues
            if len(self._ends) > REMEMBERED:
                self._ends.popitem(last=False)

    def _warn_of_order(self, delivery: Delivery) -> None:
        if delivery.queue.endswith(".fifo"):
            logger.warning(
                "Message %s on %s waits longer than SQS keeps one: its copy goes behind the others "
                "of its group",
                delivery.message_id,
                delivery.queue,
            )
