"""Lease keeping: renews the visibility of everything in flight, in batches.

One thread a consuming channel. A lease that cannot be renewed because the
message is gone is lost, counted and not tried again; any other failure is
tried again at the next turn, several of which fit into a lease.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sealwax.transport.batching import BatchEntry, EntryResult
from sealwax.transport.engine import Engine
from sealwax.transport.in_flight import Delivery, InFlight, MessageState
from sealwax.transport.options import MAX_VISIBILITY

__all__ = ["LeaseKeeper", "visibility_left"]

logger = logging.getLogger(__name__)

#: SQS's own limit, less what a call may take.
MARGIN = 10


def visibility_left(delivery: Delivery, now: float) -> float:
    """Return how long a delivery may still be kept invisible, in seconds.

    SQS counts its 12 hours from the receive.
    """
    return max(0.0, MAX_VISIBILITY - MARGIN - (now - delivery.received_at))


class LeaseKeeper:
    """Renews the leases of one channel's deliveries.

    Parameters
    ----------
    tick
        Called at each turn, for what else must be done now and then.
    """

    def __init__(self, engine: Engine, in_flight: InFlight, *, tick: Callable[[], None]) -> None:
        self._engine = engine
        self._in_flight = in_flight
        self._tick = tick
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        lease = engine.options.lease
        self._interval = min(5.0, lease / 6)

    def start(self) -> None:
        """Start the thread that keeps leases."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sealwax-leases", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread; what is in flight keeps the lease it has."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self.renew()
                self._tick()
            except Exception:
                logger.exception("Keeping leases failed; trying again")

    def renew(self) -> None:
        """Renew what has less than half of its lease left."""
        options = self._engine.options
        now = time.monotonic()
        started: list[tuple[str, str]] = []
        for delivery in self._in_flight.due(options.lease * 0.6):
            seconds = int(min(options.lease, visibility_left(delivery, now)))
            if seconds <= 0:
                delivery.lost = True
                continue
            delivery.renewing = True
            if delivery.state is MessageState.STARTED and delivery.job:
                started.append((delivery.job, delivery.token))
            self._submit(delivery, seconds)
        if started and options.on_renew:
            self._engine.background.run(options.on_renew, started)

    def _submit(self, delivery: Delivery, seconds: int) -> None:
        self._engine.calls(self._engine.url(delivery.queue)).visibility.submit(
            BatchEntry(
                {"ReceiptHandle": delivery.receipt, "VisibilityTimeout": seconds},
                done=lambda outcome: self._renewed(delivery, seconds, outcome),
                deadline=0.0,  # tried once; the next turn is the retry
                skip=lambda: delivery.state is MessageState.GONE,
            )
        )

    def _renewed(self, delivery: Delivery, seconds: int, outcome: EntryResult) -> None:
        delivery.renewing = False
        if outcome.ok:
            delivery.lease_until = time.monotonic() + seconds
            if not outcome.code:
                self._engine.counters.add("leases.renewed")
        elif not outcome.retryable:
            delivery.lost = True
            self._engine.counters.add("leases.lost")
            logger.warning(
                "The lease of message %s on %s is lost (%s); it may run again elsewhere",
                delivery.message_id,
                delivery.queue,
                outcome.code,
            )
