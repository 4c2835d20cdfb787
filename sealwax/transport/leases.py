"""The thread that keeps everything held invisible to others, by renewing in batches.

A lease is short so that a killed worker's messages come back soon. A renewal
is due when a third of the lease is gone; SQS ends it all 12 hours after the
receive, whatever is renewed.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from sealwax.transport.batching import Outcome
from sealwax.transport.forks import gate
from sealwax.transport.held import Delivery, State
from sealwax.transport.options import MAX_VISIBILITY

if TYPE_CHECKING:
    from sealwax.transport.engine import Engine

__all__ = ["LeaseKeeper"]

logger = logging.getLogger(__name__)


class LeaseKeeper:
    """Renews an engine's leases."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; idempotent."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sealwax-leases", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()

    def _run(self) -> None:
        lease = self._engine.options.lease
        while not self._stopping.wait(min(1.0, lease / 10)):
            try:
                self._renew(lease)
            except Exception:
                with gate():
                    logger.exception("renewing leases failed; it is tried again")

    def _renew(self, lease: float) -> None:
        due = self._engine.held.due(within=lease * 2 / 3)
        now = time.monotonic()
        jobs = []
        for delivery in due:
            if now + lease > delivery.received_at + MAX_VISIBILITY:
                continue
            delivery.renewing = True
            self._engine.renew(delivery, self._done(delivery, now + lease))
            if delivery.state is State.STARTED and delivery.job:
                jobs.append(delivery.job)
        hook = self._engine.options.on_renew
        if jobs and hook is not None:
            self._engine.aside(lambda: hook(jobs))

    def _done(self, delivery: Delivery, until: float):  # type: ignore[no-untyped-def]
        def done(outcome: Outcome) -> None:
            delivery.renewing = False
            if outcome.ok:
                delivery.lease_until = until
                if outcome.code != "skipped":
                    self._engine.counters.add("leases.renewed")
                return
            if delivery.state in (State.HELD, State.STARTED):
                delivery.lost = True
                self._engine.counters.add("leases.lost")
                with gate():
                    logger.warning(
                        "lease lost",
                        extra={"queue": delivery.queue, "job": delivery.job, "code": outcome.code},
                    )

        return done
