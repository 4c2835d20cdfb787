"""The consuming side of a channel: receivers, leases, and how deliveries end.

Each end is one batched SQS call made elsewhere: acknowledge = delete, postpone
and release = change the visibility, dead-letter = send to the dead-letter
queue, *then* delete. Until SQS has confirmed, the lease is kept, so that a
failing call does not make the message run again.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable

from sealwax.aws.clock import AWS_CLOCK
from sealwax.outcomes import Ack, DeadLetter, Outcome, Reason, Retry
from sealwax.transport.batching import BatchEntry, EntryResult
from sealwax.transport.copies import Copier
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

#: Longest time an unknown task's message waits between two tries, in seconds.
UNKNOWN_TASK_STEP = 30.0


class Settler:
    """Settlement of the messages that one channel receives.

    Parameters
    ----------
    arrived
        Takes the deliveries that may run now; called from receiving threads.
    """

    def __init__(
        self,
        engine: Engine,
        liveness: Liveness,
        arrived: Callable[[list[Delivery]], None],
    ) -> None:
        self.engine = engine
        self.liveness = liveness
        self.in_flight = InFlight()
        self.groups = FifoGroups()
        self._arrived = arrived
        self._receivers: dict[str, Receivers] = {}
        self._wanted: set[str] = set()
        self._leases = LeaseKeeper(engine, self.in_flight, tick=self._tick)
        self._dead_letterer = DeadLetterer(engine, on_confirmed=self._delete)
        self.copier = Copier(engine, copied=self._delete, refused=self._return)
        self._parking = Parking(engine, parked=self._delete)
        self._lock = threading.Lock()
        self._closed = False
        if engine.options.pauses is not None:
            engine.options.pauses.register(self)

    # -- receiving

    def consume(self, queue: str) -> None:
        """Receive from a queue: now, or as soon as it is not paused."""
        self._wanted.add(queue)
        self._leases.start()
        self.pauses_changed(queue)

    def pauses_changed(self, queue: str) -> None:
        """Receive, or stop receiving, as the process's pauses say now."""
        pauses = self.engine.options.pauses
        with self._lock:
            wanted = queue in self._wanted and not self._closed
            receives = wanted and not (pauses and pauses.reasons(queue))
            if receives == (queue in self._receivers):
                return
            if receives:
                receivers = self._receivers[queue] = Receivers(
                    self.engine,
                    queue,
                    self.in_flight,
                    self.groups,
                    self.liveness,
                    arrived=self._arrived,
                    give_up=self._give_up,
                )
                receivers.start()
                return
            receivers = self._receivers.pop(queue)
        receivers.stop()
        self._release(self.in_flight.settle_unstarted({queue}))

    def cancel(self, queue: str) -> None:
        """Stop receiving from a queue; release the messages that were not started."""
        self._wanted.discard(queue)
        self.pauses_changed(queue)
        self._release(self.in_flight.settle_unstarted({queue}))

    def running(self) -> list[tuple[str, str]]:
        """Return (job id, delivery token) of each job that was handed to the pool and runs."""
        return [(each.job, each.token) for each in self.in_flight.started() if each.job]

    def close(self) -> None:
        """Stop consuming: confirm what is settled, release what is not."""
        if self._closed:
            return
        self._closed = True
        for queue in list(self._wanted):
            self.cancel(queue)
        timeout = self.engine.options.drain_timeout
        until = time.monotonic() + timeout
        self.engine.flush(timeout)
        # What was cut off is tried again, uncharged: neither the task nor its process failed.
        self._release(self.in_flight.settle_all(), cut=True)
        self.engine.flush(max(1.0, until - time.monotonic()))
        rest = (*self._dead_letterer.unfinished(), *self.copier.unfinished())
        self._release([*rest], copied=False)
        self.engine.flush(1.0)
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

    def start(self, token: str) -> bool:
        """Mark a message as handed to the pool; False: it was released, do not run it."""
        return self.in_flight.start(token)

    def settle(
        self,
        token: str,
        outcome: Outcome,
        *,
        recorded: bool = True,
        crashed: bool = False,
        requeued: bool = False,
    ) -> bool:
        """Carry out a message's outcome, once.

        Parameters
        ----------
        outcome
            A `Retry` counts in whole seconds, rounded up, as far as SQS allows.
        recorded
            Of a `DeadLetter`: whether the caller has recorded it. If not, the
            option `on_dead_letter` is called first.
        crashed
            Of a `Retry`: whether the attempt was lost, and did not ask for another.
        requeued
            Of a `Retry`: whether it was given back, which is no retry; beyond the option
            `requeues` it is a dead letter.

        Returns
        -------
        bool
            False where the message has already met another end.
        """
        delivery = self.in_flight.settle(token)
        if delivery is None:
            return False
        if requeued and delivery.requeues >= self.engine.options.requeues:
            outcome, recorded = (
                DeadLetter(
                    reason=Reason.EXHAUSTED, cause="requeued", error="Reject", job=delivery.job
                ),
                False,
            )
        if isinstance(outcome, Ack):
            self._acknowledge(delivery)
        elif isinstance(outcome, Retry):
            seconds = math.ceil(max(0.0, outcome.after))
            self._postpone(delivery, seconds, crashed=crashed, requeued=requeued)
        else:
            self.engine.counters.add(f"dead_lettered.{outcome.reason.value}")
            self._dead_letterer.send(delivery, outcome, recorded=recorded)
        return True

    def wait_until_due(self, token: str, seconds: float) -> None:
        """Have a message whose eta is `seconds` away received again, no earlier than that."""
        delivery = self.in_flight.settle(token)
        if delivery is None:
            return
        self.engine.counters.add("postponed")
        due = AWS_CLOCK() + seconds

        def wait() -> None:
            hop = self.copier.early(delivery, max(0.001, due - AWS_CLOCK()))
            if hop:
                self._return(delivery, hop)

        if not self._parking.take(delivery, math.ceil(seconds), refused=wait):
            wait()

    def settle_unknown_task(self, token: str) -> bool:
        """Postpone a message of an unknown task for a newer worker; at last dead-letter it.

        Returns False where the message has already met another end.
        """
        delivery = self.in_flight.get(token)
        if delivery is None:
            return False
        now = AWS_CLOCK()
        if self.engine.options.headers is None:
            # Not since its first receive: it may have waited for its time, or been tried, before.
            delivery.unknown_since = since = delivery.unknown_since or now
        else:
            since = delivery.first_received_at
        left = since + self.engine.options.unknown_task_grace - now
        if left > 0:
            return self.settle(token, Retry(min(left, UNKNOWN_TASK_STEP)))
        letter = DeadLetter(
            reason=Reason.UNKNOWN_TASK, cause="unknown-task", error="UnknownTask", job=delivery.job
        )
        return self.settle(token, letter, recorded=False)

    def release(self, token: str) -> bool:
        """Make the message visible again now."""
        delivery = self.in_flight.settle(token)
        if delivery is None:
            return False
        self._release([delivery])
        return True

    def release_all(self) -> None:
        """Make everything unsettled visible again now."""
        self._release(self.in_flight.settle_all())

    def _acknowledge(self, delivery: Delivery) -> None:
        counters = self.engine.counters
        counters.add("acknowledged")
        if delivery.sent_at:
            counters.add("latency.milliseconds", _milliseconds(AWS_CLOCK() - delivery.sent_at))
        if delivery.started_at:
            counters.add("run.milliseconds", _milliseconds(time.monotonic() - delivery.started_at))
        self._delete(delivery)

    def _postpone(self, delivery: Delivery, seconds: int, *, crashed: bool, requeued: bool) -> None:
        self.engine.counters.add("postponed")
        started = bool(delivery.started_at)
        copy = self.copier.retry if started else self.copier.wait
        if requeued:
            copy = self.copier.requeue
        elif started and crashed:
            copy = self.copier.crash

        def wait() -> None:
            if not copy(delivery, seconds):
                self._return(delivery, seconds)

        if not self._parking.take(
            delivery,
            seconds,
            refused=wait,
            retried=copy == self.copier.retry,
            crashed=copy == self.copier.crash,
            requeued=requeued,
        ):
            wait()

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

    def _release(
        self,
        deliveries: list[Delivery],
        *,
        from_group: bool = False,
        copied: bool = True,
        cut: bool = False,
    ) -> None:
        for delivery in deliveries:
            if from_group and self.in_flight.settle(delivery.token) is None:
                continue
            self.engine.counters.add("released")
            waited = copied and (cut or not delivery.started_at)
            if not (waited and self.copier.wait(delivery, 0)):
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
        self.in_flight.done(delivery)
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
