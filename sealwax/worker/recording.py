"""Recording of known outcomes: a failed record is not a failed attempt.

Called by attempts, in the process that knows how one ended. What the ledger did
not take is recorded again, under the attempt's token: a repeat does nothing
where the first try had been done, and is refused where another attempt holds
the job. Meanwhile the worker's main process renews both leases. It never runs
a task, and never decides an outcome.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from sealwax.aws.backoff import jittered
from sealwax.aws.errors import refuses_content
from sealwax.ledger import ClaimLost, LedgerError
from sealwax.outcomes import is_soft_limit

__all__ = ["OutcomeRecorder"]

T = TypeVar("T")

#: Longest wait between two tries, in seconds: well under a lease.
LONGEST_WAIT = 3.0


class OutcomeRecorder:
    """Repeats one attempt's records until the ledger has answered.

    Parameters
    ----------
    until
        Monotonic seconds of the last try; the attempt's process is killed soon after.
    seconds
        For which a record is repeated: at least the lease, which nobody can
        take meanwhile; longer, because while the ledger is away nobody can claim.
    failed
        Called at each try that failed, so that the worker takes no new work.
    """

    def __init__(
        self,
        *,
        until: float,
        seconds: float,
        failed: Callable[[], None],
        log: Any,
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] | None = None,
    ) -> None:
        self._until = until
        self._seconds = seconds
        self._failed = failed
        self._log = log
        self._monotonic = monotonic
        self._pause = pause or time.sleep

    def record(self, write: Callable[[], T]) -> T:
        """Return what `write` returns, after as many tries as it takes.

        A soft time limit that meets a try is one more failed try: the attempt
        has ended, and what it has come to is known.

        Raises
        ------
        ClaimLost
            Another attempt holds the job.
        LedgerError
            The ledger refuses the content of the record, or did not take it in
            time; then it may still hold the attempt as running.
        """
        end = min(self._until, self._monotonic() + self._seconds)
        tries = 0
        while True:
            try:
                done = write()
            except ClaimLost:
                raise
            except Exception as error:
                if not (isinstance(error, LedgerError) or is_soft_limit(error)):
                    raise
                if refuses_content(error):
                    raise
                self._failed()
                wait = jittered(tries, cap=LONGEST_WAIT)
                tries += 1
                if self._monotonic() + wait > end:
                    if isinstance(error, LedgerError):
                        raise
                    raise LedgerError from error
                self._log.warning("outcome not recorded yet", error=type(error).__name__)
            else:
                if tries:
                    self._log.info("outcome recorded", tries=tries + 1)
                return done
            self._sleep(wait)

    def _sleep(self, seconds: float) -> None:
        try:
            self._pause(seconds)
        except Exception as error:
            if not is_soft_limit(error):
                raise
