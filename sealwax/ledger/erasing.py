"""Forgetting a job: its entry keeps no more than that it must not run.

Called by `sealwax jobs erase`. It never deletes an entry: a message of an
unknown job would become a dead letter, and with it what was to be forgotten.
"""

from __future__ import annotations

from sealwax.ledger.entry import JobState, LedgerEntry
from sealwax.ledger.errors import LedgerError, LedgerUnreachable
from sealwax.ledger.table import LedgerTable, Written
from sealwax.settings import SQS_RETENTION_MAX

__all__ = ["ERASED", "StillRuns", "erase_entry"]

#: Stands where the tenant was.
ERASED = "erased"

#: The entry outlives every message: SQS keeps one in a queue, then in a
#: dead-letter queue, each time at most so long.
_KEEP = 2 * SQS_RETENTION_MAX

#: Tries against somebody who changes the entry at the same time.
_TRIES = 5


class StillRuns(LedgerError):
    """An attempt runs at this moment; nothing was erased, try again when it has ended."""


def erase_entry(table: LedgerTable, job_id: str, *, now: float) -> LedgerEntry | None:
    """Take from an entry what it says of the request; cancel the job unless it has ended.

    Messages of it that are still in SQS are acknowledged unread from then on.
    A repeat does no harm.

    Returns
    -------
    Entry or None
        The entry before; None where it is unknown.

    Raises
    ------
    StillRuns, LedgerUnreachable, LedgerDenied
    """
    for _ in range(_TRIES):
        entry = table.get(job_id)
        if entry is None:
            return None
        if entry.state is JobState.RUNNING and entry.lease_until >= now:
            raise StillRuns
        ended = entry.final and entry.state is not JobState.DEAD
        done = table.update(
            job_id,
            "SET #state = :after, updated = :now, finished = if_not_exists(finished, :now), "
            "tenant = :erased, expires = :expires REMOVE watch, lease_until, #due, #result, "
            "result_omitted, fingerprint, acceptance, #token, #cause, #error, #reason, "
            "progress_done, progress_total, phase, parent, claim_checks",
            "#state = :before AND updated = :updated",
            {
                ":after": entry.state if ended else JobState.CANCELLED,
                ":before": entry.state,
                ":updated": entry.updated,
                ":now": now,
                ":erased": ERASED,
                ":expires": int(now + _KEEP),
            },
        )
        if isinstance(done, Written):
            return entry
    raise LedgerUnreachable("The job's entry changes all the time; try again later.")
