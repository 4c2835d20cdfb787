"""Looks out for the ledger: while it is away, nothing is received.

Run by the worker's main process. An attempt that cannot reach the ledger says
so, in whichever process it runs; a thread here then asks the ledger itself,
holds the queue while it does not answer, and lets go as soon as it does. What
was received and not started is given back, so no job pays with an attempt and
other workers may have better luck.
"""

from __future__ import annotations

import random
import threading

import structlog

from sealwax.ledger import LedgerError
from sealwax.runtime import Runtime
from sealwax.transport.pauses import ConsumerPauses

__all__ = ["REASON", "LedgerWatch"]

log = structlog.get_logger("sealwax.worker")

#: Why the queue is held.
REASON = "ledger"

#: Seconds between two looks at what attempts have said, and between two
#: questions to a ledger that is away.
LOOK, ASK = 0.5, 2.0

#: No job has this id.
_NOBODY = "0" * 32


class LedgerWatch:
    """One worker's.

    Parameters
    ----------
    queue
        SQS name of the lane's queue.
    """

    def __init__(self, runtime: Runtime, holds: ConsumerPauses, queue: str) -> None:
        self._runtime = runtime
        self._holds = holds
        self._queue = queue
        self._seen = runtime.ledger_failures()
        self._away = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sealwax-lookout", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; the queue stays as it is."""
        self._stopping.set()

    def look(self) -> float:
        """Look once; return the seconds until the next look."""
        said = self._runtime.ledger_failures()
        if not self._away and said == self._seen:
            return LOOK
        self._seen = said
        try:
            self._runtime.ledger.get(_NOBODY)
        except LedgerError as error:
            if not self._away:
                log.warning("ledger away, receiving stops", error=type(error).__name__)
            self._away = True
            self._holds.hold(self._queue, REASON)
            # Not all workers at once.
            return ASK * (0.5 + random.random())  # noqa: S311 - jitter, not a secret
        if self._away:
            log.warning("ledger back, receiving again")
        self._away = False
        self._holds.release(self._queue, REASON)
        return LOOK

    def _run(self) -> None:
        pause = LOOK
        while not self._stopping.wait(pause):
            try:
                pause = self.look()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next look may tell
                log.warning("lookout failed", error=type(error).__name__)
                pause = ASK
