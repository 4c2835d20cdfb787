"""Claiming of a job for one delivery: the claimed entry, or the message's outcome instead.

Called by `Attempt` once it knows that the message is genuine. It starts
nothing; it ends jobs only as the ledger says: cancelled, expired, dead of
crashes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from sealwax.aws.backoff import jittered
from sealwax.ledger import EARLY, SUSPICIONS, Claimed, JobState, LedgerEntry, LedgerError
from sealwax.outcomes import Ack, DeadLetter, Outcome, Reason, Retry
from sealwax.runtime import Runtime
from sealwax.worker.isolation import CLOSED_MOST, JobIsolation
from sealwax.worker.provenance import Own, Stray, born_by, disagreement, lane_of
from sealwax.worker.settlement import UNKNOWN_JOB, Settlement

__all__ = ["JobClaimer"]

#: Ends after which no message of the job will ever need its payload; an
#: abandoned job may be accepted again.
_DROPPED = (JobState.SUCCEEDED, JobState.CANCELLED, JobState.EXPIRED)

#: Seconds that a message waits in its child while the worker is closed for a job that
#: runs alone: a little longer than that can be.
_SHARED_WAIT = CLOSED_MOST + 2.0

#: Seconds until the next try, in this worker or another, of a job that must run alone
#: and may not yet: the least and the most.
_ALONE_SOONEST, _ALONE_LATEST = 1.0, 60.0

#: Seconds after which such a job runs beside others: where these never end in time, it
#: would never run.
_ALONE_PATIENCE = 600.0


class JobClaimer:
    """Claimer of the job of one delivery.

    Parameters
    ----------
    isolation
        The worker's; None where nothing else can run.
    settlement
        The message's.
    log
        Bound to the job.
    own
        The message as it was verified; None: not compared with the entry.
    queue
        The queue that the message came from; None: not compared.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        job_id: str,
        token: str,
        generation: int,
        lease: float,
        isolation: JobIsolation | None,
        settlement: Settlement,
        log: Any,
        own: Own | None = None,
        queue: str | None = None,
    ) -> None:
        self._runtime = runtime
        self._job_id = job_id
        self._token = token
        self._generation = generation
        self._lease = lease
        self._isolation = isolation
        self._settlement = settlement
        self._log = log
        self._own = own
        self._queue = queue

    @contextmanager
    def claimed(self) -> Iterator[LedgerEntry | Outcome]:
        """Yield the claimed entry, isolated as it must be, or the message's outcome instead.

        Leave the block only when the attempt has ended: a job that runs alone
        does so until then.
        """
        with self._shared() as entered:
            found = self._claim(alone=False) if entered else Retry(_SHARED_WAIT)
            if not isinstance(found, _MustRunAlone):
                yield found
                return
        with self._exclusive() as entered:
            if entered:
                found = self._claim(alone=True)
                yield self._later() if isinstance(found, _MustRunAlone) else found
                return
        if self._runtime.clock() - found.since < _ALONE_PATIENCE:
            yield self._later()
            return
        with self._shared() as entered:
            found = self._claim(alone=False, beside=True) if entered else self._later()
            yield self._later() if isinstance(found, _MustRunAlone) else found

    def _later(self) -> Retry:
        """Wait until this worker may be closed again; not all that wait at the same time."""
        wait = self._isolation.open_again() if self._isolation is not None else 0.0
        spread = 1 + random.random()  # noqa: S311 - jitter, not a secret
        return Retry(min(_ALONE_LATEST, max(_ALONE_SOONEST, wait) * spread))

    def _shared(self) -> AbstractContextManager[bool]:
        if self._isolation is None:
            return nullcontext(True)  # noqa: FBT003 - entered
        return self._isolation.shared(wait=_SHARED_WAIT)

    def _exclusive(self) -> AbstractContextManager[bool]:
        self._log.info("waits to run alone")
        if self._isolation is None:
            return nullcontext(True)  # noqa: FBT003 - entered
        return self._isolation.exclusive(opens=self._neighbours_come)

    def _neighbours_come(self) -> None:
        """Record that the job is alone no more: a loss from now on may be a neighbour's fault."""
        for tries in range(5):
            try:
                self._runtime.ledger.not_alone(self._job_id, token=self._token)
            except LedgerError as error:
                self._log.info("neighbours not recorded", error=type(error).__name__)
                time.sleep(jittered(tries))
            else:
                return

    def _claim(self, *, alone: bool, beside: bool = False) -> LedgerEntry | Outcome | _MustRunAlone:
        for _ in range(3):
            claim = self._runtime.ledger.claim(
                self._job_id,
                token=self._token,
                lease=self._lease,
                generation=self._generation,
                alone=alone,
                beside=beside,
                **self._bound(),
            )
            if isinstance(claim, Claimed):
                return claim.entry
            refused = self._refused(claim.entry)
            if refused is not None:
                return refused
        return Retry(1.0)  # it changes faster than it can be claimed

    def _bound(self) -> dict[str, Any]:
        if self._own is None:
            return {}
        context = self._own.context
        return {
            "task": context.task,
            "tenant": context.tenant,
            "lane": lane_of(self._runtime, self._queue),
            "claim_check": self._own.claim_check,
            "born_by": born_by(context, self._runtime),
        }

    def _refused(self, entry: LedgerEntry | None) -> Outcome | _MustRunAlone | None:
        """Return the outcome of a message whose claim was refused; None: claim again."""
        if entry is None:
            self._log.warning("unknown job")
            return self._settlement.letter(UNKNOWN_JOB, None)
        if self._own is not None:
            stray = disagreement(entry, self._own, queue=self._queue, runtime=self._runtime)
            if stray is not None:
                self._log.warning("stray", cause=stray.cause)
                return stray.letter()
        if self._generation < entry.generation:
            self._log.info("superseded by a replay", generation=self._generation)
            return Ack()
        if self._generation > entry.generation:
            # Replays raise the ledger's before they send: no replay sent this one.
            self._log.warning("generation unknown", generation=self._generation)
            return Stray(cause="generation", error="generation", job=entry.id).letter()
        if entry.state is JobState.DEAD:
            letter = DeadLetter(
                reason=Reason.read(entry.reason) or Reason.REJECTED,
                cause=entry.cause or "",
                error=entry.error or "",
            )
            return self._settlement.letter(letter, entry)
        if entry.final:
            self._log.info("not run", state=entry.state)
            return self._settlement.drop(entry) if entry.state in _DROPPED else Ack()
        if entry.state is JobState.RUNNING:
            return self._runs(entry)
        return self._waits(entry)

    def _runs(self, entry: LedgerEntry) -> Outcome | None:
        """Wait for the end of another attempt's lease, and take the job from it then."""
        wait = entry.lease_until - self._runtime.clock()
        if wait >= 0:
            self._log.info("runs elsewhere", seconds=round(wait, 1))
            return Retry(min(wait + 1.0, 900.0))
        suspected = self._runtime.ledger.suspect(entry)
        if suspected is not None:
            self._log.warning(
                "attempt lost with its worker",
                suspicions=suspected.suspicions,
                crashes=suspected.crashes,
            )
        return None

    def _waits(self, entry: LedgerEntry) -> Outcome | _MustRunAlone | None:
        """Settle a job that no attempt holds and that may not start."""
        ledger, now = self._runtime.ledger, self._runtime.clock()
        if entry.cancel_asked is not None:
            ledger.cancel(entry.id)
            return None
        if entry.run_before is not None and now >= entry.run_before:
            if ledger.expire(entry.id):
                self._log.info("job expired")
            return None
        wait = max(entry.due or 0.0, entry.not_before or 0.0) - now
        if wait > EARLY:
            # A copy of a message that waits for its time.
            self._log.info("not due yet", seconds=round(wait, 1))
            return Retry(wait)
        return _MustRunAlone(entry.updated) if entry.suspicions >= SUSPICIONS else None


@dataclass(frozen=True)
class _MustRunAlone:
    """The job may be claimed by an attempt without neighbours only; it waits since `since`."""

    since: float
