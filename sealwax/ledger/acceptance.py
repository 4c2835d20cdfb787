"""A job's life before its claim: accepted, disowned, abandoned, cancelled, expired.

Part of `Ledger`; called by the API, and by whoever finds that a job must not
start any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sealwax.aws.dynamodb import ConditionFailed, value_of
from sealwax.aws.shards import sharded
from sealwax.ledger.entry import JobState, LedgerEntry, NewJob, open_watch
from sealwax.ledger.errors import LedgerUnreachable
from sealwax.ledger.table import Writer, Written

__all__ = ["CLAIM_CHECKS_MAX", "Acceptance", "Accepted"]


@dataclass(frozen=True)
class Accepted:
    """The outcome of `Ledger.accept`: `created` is False where the id was known."""

    created: bool
    entry: LedgerEntry


#: Requests of one job whose references are recorded: each is some 80 bytes of its entry.
CLAIM_CHECKS_MAX = 100

_CLAIM_CHECKS: dict[str, Any] = {":none": (), ":most": CLAIM_CHECKS_MAX}


def _another(job: NewJob) -> tuple[str, str]:
    """Return how a repeat of a request adds its reference, and the condition for it."""
    if not job.claim_checks:
        return "", ""
    return (
        ", claim_checks = list_append(if_not_exists(claim_checks, :none), :sent)",
        " AND (attribute_not_exists(claim_checks) OR size(claim_checks) < :most)",
    )


class Acceptance(Writer):
    """What happens to jobs that no attempt holds."""

    def accept(self, job: NewJob) -> Accepted:
        """Record a new job, or return the entry that its id already has.

        One conditional put: this is also the whole of idempotency, since the id
        is derived from the caller's key.
        """
        item: dict[str, Any] = {
            name: value_of(value) for name, value in vars(job).items() if value is not None
        }
        item["state"] = {"S": JobState.ACCEPTED}
        item["updated"] = item["created"]
        item["attempts"] = {"N": "0"}
        item["watch"] = {"S": sharded(open_watch(job.lane), job.id, self._shards)}
        item["tenant"] = {"S": sharded(job.tenant, job.id, self._shards)}
        try:
            self._table.request(
                "put_item",
                TableName=self._table.name,
                Item=item,
                ConditionExpression="attribute_not_exists(id)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ConditionFailed as failed:
            known = failed.item
        else:
            return Accepted(created=True, entry=LedgerEntry.from_item(item))
        entry = LedgerEntry.from_item(known) if known else self._table.get(job.id)
        if entry is None:  # expired between the two calls
            return self.accept(job)
        return Accepted(created=False, entry=entry)

    def reaccept(self, job: NewJob) -> bool:
        """Turn an abandoned job into an accepted one; False if it is no longer abandoned."""
        sets = {
            name: value
            for name, value in vars(job).items()
            if value is not None
            and name in ("acceptance", "not_after", "expires", "run_before", "not_before")
        }
        more, room = _another(job)
        written = [f"{name} = :{name}" for name in sets]
        removed = [name for name in ("run_before", "not_before") if name not in sets]
        return self._update(
            job.id,
            f"SET #state = :accepted, updated = :now, created = :now, watch = :watch, "
            f"{', '.join(written)}{more} REMOVE {', '.join(['finished', *removed])}",
            f"#state = :abandoned{room}",
            {
                **_CLAIM_CHECKS,
                ":sent": job.claim_checks,
                ":watch": sharded(open_watch(job.lane), job.id, self._shards),
                ":accepted": JobState.ACCEPTED,
                ":abandoned": JobState.ABANDONED,
                ":now": job.created,
                **{f":{name}": value for name, value in sets.items()},
            },
        )

    def disown(self, job: NewJob) -> bool:
        """Let nobody abandon the job any more: a repeat of its request is about to send it.

        False where it is no longer waiting for its first claim, or where its
        request was repeated too often.

        Parameters
        ----------
        job
            As the repeat would have recorded it.
        """
        more, room = _another(job)
        return self._update(
            job.id,
            f"SET updated = :now{more} REMOVE acceptance",
            f"#state = :accepted{room}",
            {
                **_CLAIM_CHECKS,
                ":sent": job.claim_checks,
                ":accepted": JobState.ACCEPTED,
                ":now": self._clock(),
            },
        )

    def abandon(self, job_id: str, *, acceptance: str) -> bool:
        """Record that the queue could not be reached and the caller was told so.

        False where the job has been claimed meanwhile, or its request was
        repeated: somebody else may have been promised that it runs.
        """
        return self._update(
            job_id,
            "SET #state = :abandoned, updated = :now, finished = :now REMOVE watch",
            "#state = :accepted AND acceptance = :acceptance",
            {
                ":acceptance": acceptance,
                ":accepted": JobState.ACCEPTED,
                ":abandoned": JobState.ABANDONED,
                ":now": self._clock(),
            },
        )

    def cancel(self, job_id: str) -> LedgerEntry | None:
        """Cancel a job that does not run; ask the running attempt of one that does.

        Returns
        -------
        Entry or None
            The entry after it: `cancelled`, or `running` with `cancel_asked`, or
            as it had ended before. None where the job is unknown.
        """
        for _ in range(3):  # it may start or end between the two conditions
            now = self._clock()
            done = self._table.update(
                job_id,
                "SET #state = :cancelled, updated = :now, finished = :now "
                "REMOVE watch, #due, acceptance",
                "#state IN (:accepted, :retrying)",
                {
                    ":cancelled": JobState.CANCELLED,
                    ":accepted": JobState.ACCEPTED,
                    ":retrying": JobState.RETRYING,
                    ":now": now,
                },
                new=True,
            )
            if isinstance(done, Written):
                return done.entry
            entry = done.entry or self._table.get(job_id)
            if entry is None or entry.final:
                return entry
            done = self._table.update(
                job_id,
                "SET cancel_asked = if_not_exists(cancel_asked, :now)",
                "#state = :running",
                {":running": JobState.RUNNING, ":now": now},
                new=True,
            )
            if isinstance(done, Written):
                return done.entry
        raise LedgerUnreachable("The job changes too quickly; try again.")

    def expire(self, job_id: str) -> bool:
        """Record that the job was not to start any more; False where it has ended or runs."""
        return self._update(
            job_id,
            "SET #state = :expired, updated = :now, finished = :now REMOVE watch, #due",
            "#state IN (:accepted, :retrying)",
            {
                ":expired": JobState.EXPIRED,
                ":now": self._clock(),
                ":accepted": JobState.ACCEPTED,
                ":retrying": JobState.RETRYING,
            },
        )
