"""Health watch of the ledger: while the ledger is unreachable, nothing is received.

Run by the worker's main process. An attempt that cannot reach the ledger
reports it, in whichever process it runs; a thread here then probes the ledger
itself, pauses the queue while the ledger does not answer, and resumes it as
soon as it does. Messages that were received and not started are released, so
no job is charged an attempt and other workers may have better luck.
"""

from __future__ import annotations

import random
import threading

import structlog

from sealwax.ledger import UNUSED_ID, LedgerError
from sealwax.runtime import Runtime
from sealwax.transport.pauses import ConsumerPauses

__all__ = ["REASON", "LedgerWatch"]

log = structlog.get_logger("sealwax.worker")

#: Reason of the pause.
REASON = "ledger"

#: Seconds between two readings of the attempts' reports, and between two
#: probes of a ledger that is unreachable.
POLL_SECONDS, PROBE_SECONDS = 0.5, 2.0


class LedgerWatch:
    """Ledger watch of one worker.

    Parameters
    ----------
    queue
        SQS name of the lane's queue.
    """

    def __init__(self, runtime: Runtime, pauses: ConsumerPauses, queue: str) -> None:
        self._runtime = runtime
        self._pauses = pauses
        self._queue = queue
        self._seen = runtime.ledger_failures()
        self._away = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sealwax-ledger-watch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; the queue stays as it is, paused or not."""
        self._stopping.set()

    def check(self) -> float:
        """Check once; return the seconds until the next check."""
        reported = self._runtime.ledger_failures()
        if not self._away and reported == self._seen:
            return POLL_SECONDS
        self._seen = reported
        try:
            self._runtime.ledger.get(UNUSED_ID)
        except LedgerError as error:
            if not self._away:
                log.warning("ledger away, receiving stops", error=type(error).__name__)
            self._away = True
            self._pauses.pause(self._queue, REASON)
            # Not all workers at once.
            return PROBE_SECONDS * (0.5 + random.random())  # noqa: S311 - jitter, not a secret
        if self._away:
            log.warning("ledger back, receiving again")
        self._away = False
        self._pauses.resume(self._queue, REASON)
        return POLL_SECONDS

    def _run(self) -> None:
        pause = POLL_SECONDS
        while not self._stopping.wait(pause):
            try:
                pause = self.check()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next check may succeed
                log.warning("ledger watch failed", error=type(error).__name__)
                pause = PROBE_SECONDS
