"""From an opened envelope to a claimed job, or to what becomes of the message instead.

Called by `Attempt` once it knows that the message is genuine. It starts
nothing; it ends jobs only by the word of the ledger: cancelled, expired, dead
of crashes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sealwax.ledger import EARLY, SUSPICIONS, Claimed, JobState, LedgerEntry
from sealwax.outcomes import Dead
from sealwax.runtime import Runtime
from sealwax.transport.disposition import Ack, Disposition, Postpone
from sealwax.worker.isolation import JobIsolation

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
    letter
        Makes the dead letter of a `Dead`.
    drop
        Ends a message whose payload nobody needs any more.
    log
        Bound to the job.
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
        letter: Callable[[Dead, LedgerEntry | None], Disposition],
        drop: Callable[[], Disposition],
        log: Any,
    ) -> None:
        self._runtime = runtime
        self._job_id = job_id
        self._token = token
        self._generation = generation
        self._lease = lease
        self._room = room
        self._letter = letter
        self._drop = drop
        self._log = log

    @contextmanager
    def held(self) -> Iterator[LedgerEntry | Disposition]:
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

    def _claim(self, *, alone: bool) -> LedgerEntry | Disposition | _MustRunAlone:
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

    def _refused(self, entry: LedgerEntry | None) -> Disposition | _MustRunAlone | None:
        """Say what becomes of a message whose claim was refused; None: claim again."""
        if entry is None:
            self._log.warning("unknown job")
            return self._letter(
                Dead(reason="unknown-job", cause="no-ledger-entry", error="UnknownJob"), None
            )
        if self._generation < entry.generation:
            self._log.info("superseded by a replay", generation=self._generation)
            return Ack()
        if self._generation > entry.generation:
            # Replays raise the ledger's before they send: this one is nobody's.
            self._log.warning("generation unknown", generation=self._generation)
            return self._letter(
                Dead(reason="malformed", cause="generation", error="generation"), None
            )
        if entry.state is JobState.DEAD:
            return self._letter(
                Dead(
                    reason=entry.reason or "rejected",  # type: ignore[arg-type]
                    cause=entry.cause or "",
                    error=entry.error or "",
                ),
                entry,
            )
        if entry.final:
            self._log.info("not run", state=entry.state)
            return self._drop() if entry.state in _DROPPED else Ack()
        if entry.state is JobState.RUNNING:
            return self._runs(entry)
        return self._waits(entry)

    def _runs(self, entry: LedgerEntry) -> Disposition | None:
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

    def _waits(self, entry: LedgerEntry) -> Disposition | _MustRunAlone | None:
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
