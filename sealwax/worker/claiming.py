"""From an opened envelope to a claimed job, or to what becomes of the message instead.

Called by `Attempt` once it knows that the message is genuine. It starts
nothing; it ends jobs only by the word of the ledger: cancelled, expired, dead
of crashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sealwax.ledger import EARLY, SUSPICIONS, Claimed, JobState, LedgerEntry
from sealwax.outcomes import Ack, Outcome, Postpone, Reason
from sealwax.runtime import Runtime
from sealwax.worker.isolation import JobIsolation
from sealwax.worker.settlement import Settlement

__all__ = ["JobClaimer"]

#: Ends after which no message of the job will ever need its payload; an
#: abandoned job may be accepted again.
_DROPPED = (JobState.SUCCEEDED, JobState.CANCELLED, JobState.EXPIRED)

#: Seconds that a message waits in its child for a job that runs alone, and
#: then outside.
_MAKES_WAY = 5.0

#: Seconds that a job waits for its neighbours' ends, so as to run alone.
_EMPTIES = 60.0

#: Again, in this worker or another, after the neighbours had no end.
_LATER = 10.0


class JobClaimer:
    """The claim of one delivery.

    Parameters
    ----------
    room
        The worker's; None where nothing else can run.
    settlement
        Makes the dead letter of a message whose job cannot run, and ends what needs no run.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        job_id: str,
        token: str,
        generation: int,
        lease: float,
        room: JobIsolation | None,
        settlement: Settlement,
    ) -> None:
        self._runtime = runtime
        self._job_id = job_id
        self._token = token
        self._generation = generation
        self._lease = lease
        self._room = room
        self._settle = settlement
        self._log = settlement.log

    @contextmanager
    def held(self) -> Iterator[LedgerEntry | Outcome]:
        """Yield the claimed entry, with nobody near that must not be, or the message's end.

        Leave the block only when the attempt has ended: a job that runs alone
        does so until then.
        """
        with self._together() as here:
            found = self._claim(alone=False) if here else Postpone(_MAKES_WAY)
            if not isinstance(found, _MustRunAlone):
                yield found
                return
        with self._alone() as empty:
            found = self._claim(alone=True) if empty else Postpone(_LATER)
            yield Postpone(_LATER) if isinstance(found, _MustRunAlone) else found

    @contextmanager
    def _together(self) -> Iterator[bool]:
        if self._room is None:
            yield True
            return
        with self._room.together(wait=_MAKES_WAY) as here:
            yield here

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        self._log.info("to run alone")
        if self._room is None:
            yield True
            return
        with self._room.alone(wait=_EMPTIES) as empty:
            yield empty

    def _claim(self, *, alone: bool) -> LedgerEntry | Outcome | _MustRunAlone:
        for _ in range(3):
            claim = self._runtime.ledger.claim(
                self._job_id,
                token=self._token,
                lease=self._lease,
                generation=self._generation,
                alone=alone,
            )
            if isinstance(claim, Claimed):
                return claim.entry
            refused = self._refused(claim.entry)
            if refused is not None:
                return refused
        return Postpone(1.0)  # it changes quicker than we look

    def _refused(self, entry: LedgerEntry | None) -> Outcome | _MustRunAlone | None:
        """Say what becomes of a message whose claim was refused; None: claim again."""
        if entry is None:
            self._log.warning("unknown job")
            return self._settle.letter(Reason.UNKNOWN_JOB, "no-ledger-entry", "UnknownJob")
        if self._generation < entry.generation:
            self._log.info("superseded by a replay", generation=self._generation)
            return Ack()
        if self._generation > entry.generation:
            # Replays raise the ledger's before they send: this one is nobody's.
            self._log.warning("generation unknown", generation=self._generation)
            return self._settle.letter(Reason.MALFORMED, "generation", "generation")
        if entry.state is JobState.DEAD:
            return self._settle.letter(
                Reason(entry.reason or Reason.REJECTED),
                entry.cause or "",
                entry.error or "",
                attempts=entry.attempts,
            )
        if entry.final:
            self._log.info("not run", state=entry.state)
            return self._settle.dropped() if entry.state in _DROPPED else Ack()
        if entry.state is JobState.RUNNING:
            return self._runs(entry)
        return self._waits(entry)

    def _runs(self, entry: LedgerEntry) -> Outcome | None:
        """Wait for the end of another attempt's lease, and take the job from it then."""
        wait = entry.lease_until - self._runtime.clock()
        if wait >= 0:
            self._log.info("runs elsewhere", seconds=round(wait, 1))
            return Postpone(min(wait + 1.0, 900.0))
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
            return Postpone(wait)
        return _MustRunAlone() if entry.suspicions >= SUSPICIONS else None


class _MustRunAlone:
    """The job may be claimed by an attempt without neighbours only."""
