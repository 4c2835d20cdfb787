"""Renewal of the ledger's leases of running jobs, side by side.

The worker's main process calls it with what the transport renews at SQS. Each
job is renewed for itself, and again until its lease would be over: a slow or
throttled ledger costs time, not leases. While renewals fail the worker takes no
new work. It never takes a job from anybody: a lost claim stays lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from sealwax.aws.backoff import jittered
from sealwax.ledger import LedgerError, is_job_id
from sealwax.runtime import Runtime
from sealwax.transport.background import Background
from sealwax.transport.pauses import ConsumerPauses

__all__ = ["REASON", "RENEWED_AT_ONCE", "LeaseRenewal"]

log = structlog.get_logger("sealwax.worker")

#: Reason of the pause.
REASON = "leases"

#: Renewals under way at once: a worker's 256 jobs are through in four rounds, so
#: that calls of 3 s each fit into the 18 s that half of a lease of 30 s leaves.
RENEWED_AT_ONCE = 64

#: Failed tries of one renewal after which nothing new is received.
PATIENCE = 2

#: Longest wait between two tries, in seconds.
LONGEST_WAIT = 2.0


class LeaseRenewal:
    """Renews claims by their deliveries' tokens.

    Two messages may bear one job's id; only the one that holds the claim renews it.

    Parameters
    ----------
    lease
        Seconds that a claim lasts without renewal.
    pauses, queue
        What is paused while renewals fail, and the lane's queue; None: nothing.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        lease: float,
        pauses: ConsumerPauses | None = None,
        queue: str = "",
        background: Background | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runtime = runtime
        self._lease = lease
        self._pauses = pauses
        self._queue = queue
        self._background = background or Background(threads=RENEWED_AT_ONCE)
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        self._failing: set[str] = set()

    def renew(self, deliveries: list[tuple[str, str]]) -> None:
        """Begin to renew the claims of some jobs, given with their tokens; returns at once."""
        until = self._monotonic() + self._lease
        for job, token in deliveries:
            if not is_job_id(job):
                continue
            with self._lock:
                if token in self._busy:
                    continue
                self._busy.add(token)
            self._background.run(self._try, job, token, until, 0)

    def _try(self, job: str, token: str, until: float, tries: int) -> None:
        again = False
        try:
            again = not self._renewed(job, token, until, tries)
        finally:
            if not again:
                self._ended(token)
        if again:
            wait = jittered(tries, base=0.2, cap=LONGEST_WAIT)
            self._background.run(self._try, job, token, until, tries + 1, delay=wait)

    def _renewed(self, job: str, token: str, until: float, tries: int) -> bool:
        """Try once; True where that was the last try."""
        try:
            self._runtime.current().ledger.renew(job, token=token, lease=self._lease)
        except LedgerError as error:
            self._runtime.ledger_failed()
            if tries + 1 >= PATIENCE:
                self._pause(token)
            if self._monotonic() < until:
                return False
            # The next turn of the transport's own renewals begins anew.
            log.warning("lease not renewed", job=job, error=type(error).__name__)
        return True

    def _pause(self, token: str) -> None:
        with self._lock:
            first = not self._failing
            self._failing.add(token)
            if self._pauses is not None:
                self._pauses.pause(self._queue, REASON)
        if first:
            log.warning("leases not renewed, receiving stops")

    def _ended(self, token: str) -> None:
        with self._lock:
            self._busy.discard(token)
            self._failing.discard(token)
            if not self._failing and self._pauses is not None:
                self._pauses.resume(self._queue, REASON)
