"""The consuming side of a channel: receivers, leases, and how deliveries end.

Each end is one batched SQS call made elsewhere: acknowledge = delete, postpone
and release = change the visibility, dead-letter = send to the dead-letter
queue, *then* delete. Until SQS has confirmed, the lease is kept, so that a
failing call does not make the message run again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sealwax.outcomes import DeadLetter
from sealwax.transport.batching import BatchEntry, EntryResult
from sealwax.transport.dead_lettering import DeadLetterer
from sealwax.transport.engine import Engine
from sealwax.transport.fifo import FifoGroups
from sealwax.transport.in_flight import Delivery, InFlight
from sealwax.transport.leases import LeaseKeeper, visibility_left
from sealwax.transport.liveness import Liveness
from sealwax.transport.parking import Parking
from sealwax.transport.receiver import Receivers

__all__ = ["Settler"]

logger = logging.getLogger(__name__)

#: How long a delete or a visibility change is tried, in seconds.
SETTLE_DEADLINE = 600.0


class Settler:
    """What one channel receives and how it ends.

    Parameters
    ----------
    arrived
        Takes new deliveries, from a receiving thread.
    """

    def __init__(
        self,
        engine: Engine,
        liveness: Liveness,
        arrived: Callable[[list[Delivery]], None],
    ) -> None:
        self.engine = engine
        self.liveness = liveness
        self.held = InFlight()
        self.groups = FifoGroups()
        self._arrived = arrived
        self._receivers: dict[str, Receivers] = {}
        self._wanted: set[str] = set()
        self._leases = LeaseKeeper(engine, self.held, tick=self._tick)
        self._dead_letterer = DeadLetterer(engine, on_moved=self._delete)
        self._parking = Parking(engine, parked=self._delete, refused=self._return)
        self._lock = threading.Lock()
        self._closed = False
        if engine.options.holds is not None:
            engine.options.holds.join(self)

    # -- receiving

    def consume(self, queue: str) -> None:
        """Begin to receive from a queue, or as soon as nothing holds it."""
        self._wanted.add(queue)
        self._leases.start()
        self.held_changed(queue)

    def held_changed(self, queue: str) -> None:
        """Receive, or stop receiving, as the process's holds say now."""
        holds = self.engine.options.holds
        with self._lock:
            wanted = queue in self._wanted and not self._closed
            receives = wanted and not (holds and holds.reasons(queue))
            if receives == (queue in self._receivers):
                return
            if receives:
                receivers = self._receivers[queue] = Receivers(
                    self.engine,
                    queue,
                    self.held,
                    self.liveness,
                    deliver=self._arrived,
                    give_up=self._give_up,
                )
                receivers.start()
                return
            receivers = self._receivers.pop(queue)
        receivers.stop()
        self._release(self.held.settle_unstarted({queue}))

    def cancel(self, queue: str) -> None:
        """Receive no more from a queue; give back what was not started, at once."""
        self._wanted.discard(queue)
        self.held_changed(queue)
        self._release(self.held.settle_unstarted({queue}))

    def running(self) -> list[tuple[str, str]]:
        """Return the jobs that were handed to the pool and have not ended, with their tokens."""
        return [(each.job, each.token) for each in self.held.started() if each.job]

    def close(self) -> None:
        """End: confirm what is settled, give back what is not."""
        if self._closed:
            return
        self._closed = True
        for queue in list(self._wanted):
            self.cancel(queue)
        timeout = self.engine.options.drain_timeout
        until = time.monotonic() + timeout
        self.engine.flush(timeout)
        self._release(self.held.settle_all())
        self._release(self._dead_letterer.unfinished())
        self.engine.flush(max(1.0, until - time.monotonic()))
        self._leases.stop()
        self.engine.counter_log.write()

    def _give_up(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            self.release(delivery.token)

    def _tick(self) -> None:
        path = self.engine.options.liveness_file
        if path:
            self.liveness.write(path, counters=self.engine.counters.snapshot())
        self.engine.counter_log.tick()

    # -- ends

    def acknowledge(self, token: str) -> bool:
        """Delete the message."""
        delivery = self.held.settle(token)
        if delivery is None:
            return False
        counters = self.engine.counters
        counters.add("acknowledged")
        if delivery.sent_at:
            counters.add("latency.milliseconds", _milliseconds(time.time() - delivery.sent_at))
        if delivery.started_at:
            counters.add("run.milliseconds", _milliseconds(time.monotonic() - delivery.started_at))
        self._delete(delivery)
        return True

    def postpone(self, token: str, seconds: int) -> bool:
        """Make the message visible again after some seconds, as far as SQS allows."""
        delivery = self.held.settle(token)
        if delivery is None:
            return False
        self.engine.counters.add("postponed")
        if not self._parking.take(delivery, seconds):
            self._return(delivery, seconds)
        return True

    def release(self, token: str) -> bool:
        """Make the message visible again now."""
        delivery = self.held.settle(token)
        if delivery is None:
            return False
        self._release([delivery])
        return True

    def release_all(self) -> None:
        """Make everything unsettled visible again now."""
        self._release(self.held.settle_all())

    def dead_letter(self, token: str, letter: DeadLetter, *, recorded: bool) -> bool:
        """Move the message to its dead-letter queue."""
        delivery = self.held.settle(token)
        if delivery is None:
            return False
        self.engine.counters.add(f"dead_lettered.{letter.reason}")
        self._dead_letterer.dead_letter(delivery, letter, recorded=recorded)
        return True

    def _delete(self, delivery: Delivery) -> None:
        self.engine.calls(self.engine.url(delivery.queue)).delete.submit(
            BatchEntry(
                {"ReceiptHandle": delivery.receipt},
                done=lambda outcome: self._confirmed(delivery, "delete", outcome),
                deadline=time.monotonic() + SETTLE_DEADLINE,
            )
        )

    def _return(self, delivery: Delivery, seconds: int) -> None:
        left = int(visibility_left(delivery, time.monotonic()))
        self._change(delivery, max(0, min(seconds, left)))
        self._release(self.groups.returned(delivery), from_group=True)

    def _release(self, deliveries: list[Delivery], *, from_group: bool = False) -> None:
        for delivery in deliveries:
            if from_group and self.held.settle(delivery.token) is None:
                continue
            self.engine.counters.add("released")
            self._change(delivery, 0)
            if not from_group:
                self._release(self.groups.returned(delivery), from_group=True)

    def _change(self, delivery: Delivery, seconds: int) -> None:
        self.engine.calls(self.engine.url(delivery.queue)).visibility.submit(
            BatchEntry(
                {"ReceiptHandle": delivery.receipt, "VisibilityTimeout": seconds},
                done=lambda outcome: self._confirmed(delivery, "visibility", outcome),
                deadline=time.monotonic() + SETTLE_DEADLINE,
            )
        )
        # The lease keeper must not shorten a postponement, nor hide what was released.
        delivery.lost = True

    def _confirmed(self, delivery: Delivery, kind: str, outcome: EntryResult) -> None:
        if not outcome.ok:
            logger.warning(
                "The %s of message %s on %s was refused (%s); it may come again",
                kind,
                delivery.message_id,
                delivery.queue,
                outcome.code,
            )
        self.held.done(delivery)
        if kind == "delete":
            # Not before: were this worker killed in between, the group's next
            # would have run before this one's repetition.
            self._next_of_group(delivery)

    def _next_of_group(self, delivery: Delivery) -> None:
        following = self.groups.finished(delivery)
        if following is not None:
            self._arrived([following])


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))
