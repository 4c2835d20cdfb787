"""The ledger: every operation on the table of jobs, gathered in one class.

Used by the API, workers and the steward. What follows an acceptance and what
follows a claim stand in modules of their own; here is what reads, and replays.

`watch` is the key of a sparse index: `open#<lane>` until the job has ended,
`dead` while it is dead, absent after any other end. Claims, retries and
renewals leave it alone, so that only acceptance and end write the index. It and
the key of the tenants' index are spread over shards; see `sealwax.aws.shards`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from sealwax.aws.clock import AWS_CLOCK
from sealwax.aws.shards import SHARDS, shard_keys, sharded
from sealwax.ledger.acceptance import Acceptance
from sealwax.ledger.attempts import Attempts
from sealwax.ledger.entry import JobState, LedgerEntry, open_watch
from sealwax.ledger.erasing import erase_entry
from sealwax.ledger.listing import JobPage, KeyUsage, batch, keys, needing, query
from sealwax.ledger.table import LedgerTable, Written, of_generation

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

__all__ = ["Ledger"]

#: Entries that `oldest` looks at: replayed ones stand at the place of their
#: first acceptance, the one that has waited longest may stand behind them.
_OLDEST_OF = 25


class Ledger(Acceptance, Attempts):
    """Access to the table of jobs.

    Parameters
    ----------
    client
        A boto3 DynamoDB client with time-outs.
    table
        Name of the table.
    keep
        Seconds after acceptance when a finished entry may be dropped.
    clock
        Epoch seconds; tests pass their own.
    shards
        Keys over which the entries of a lane, and of a tenant, are spread in the indexes.
    shards_read
        Shards that are read: more than `shards` while entries of more are there.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        *,
        keep: float = 18 * 86_400,
        clock: Callable[[], float] = AWS_CLOCK,
        shards: int = SHARDS,
        shards_read: int | None = None,
    ) -> None:
        super().__init__(LedgerTable(client, table), keep=keep, clock=clock, shards=shards)
        #: How many shards there are to read.
        self.shards_read = max(shards, shards_read or 0)

    # -- reading ---------------------------------------------------------------

    def get(self, job_id: str) -> LedgerEntry | None:
        """Return a job's entry, read consistently, or None.

        Raises
        ------
        LedgerUnreachable, LedgerDenied
        """
        return self._table.get(job_id)

    def many(self, job_ids: list[str]) -> dict[str, LedgerEntry]:
        """Return the entries of up to 100 jobs that exist, by id, read consistently."""
        return batch(self._table, job_ids)

    def oldest(self, lane: str) -> LedgerEntry | None:
        """Return the open job of a lane that has waited longest, or None.

        Read from an index, so it may be a moment behind. A replayed job has
        waited since its replay.
        """
        found = self.watching(open_watch(lane), limit=_OLDEST_OF).entries
        return min(found, key=lambda entry: entry.since, default=None)

    def watching(
        self,
        watch: str,
        after: str | None = None,
        limit: int = 100,
        *,
        until: float | None = None,
    ) -> JobPage:
        """Return a page of the jobs under `open#<lane>` or `dead`, the oldest first.

        Parameters
        ----------
        after
            The last page's `after`.
        limit
            At most this many entries, 1 to 100.
        until
            Epoch seconds; jobs accepted later are not read.
        """
        return query(
            self._table,
            "by-watch",
            key="watch",
            value=watch,
            shards=self.shards_read,
            after=after,
            limit=limit,
            until=until,
        )

    def open_keys(
        self, lane: str, shard: int, *, until: float
    ) -> Iterator[list[tuple[float, str]]]:
        """Yield creation and id of a shard's open jobs, the oldest first, in pages of 1 MB.

        From an index, so a moment behind; entries are not read.

        Parameters
        ----------
        shard
            0 to `shards_read - 1`.
        until
            Epoch seconds; jobs accepted later are not read.
        """
        value = shard_keys(open_watch(lane), self.shards_read)[shard]
        return keys(self._table, "by-watch", key="watch", value=value, until=until)

    def of_tenant(
        self, tenant: str, after: str | None = None, limit: int = 100, *, newest_first: bool = True
    ) -> JobPage:
        """Return a page of a tenant's jobs, in whatever state; `tenant` is the tenant's HMAC."""
        return query(
            self._table,
            "by-tenant",
            key="tenant",
            value=tenant,
            shards=self.shards_read,
            after=after,
            limit=limit,
            newest_first=newest_first,
        )

    def needing(self, key_id: str) -> KeyUsage:
        """Count the jobs whose envelopes or results need a key; reads the whole table."""
        return needing(self._table, key_id)

    # -- the steward's part --------------------------------------------------------

    def erase(self, job_id: str) -> LedgerEntry | None:
        """Take from an entry what it says of the request; return it as it was, if it is known.

        Raises
        ------
        sealwax.ledger.erasing.StillRuns
            Nothing was erased.
        """
        return erase_entry(self._table, job_id, now=self._clock())

    def replay(
        self, job_id: str, *, generation: int, known: LedgerEntry | None = None
    ) -> LedgerEntry | None:
        """Accept a dead job again, as its next generation; its message is to be sent then.

        Attempts and crashes begin anew, and so does its age. Messages of the
        generation before are acknowledged when they arrive. A repeat, because
        the first response was lost, gives the same entry.

        Parameters
        ----------
        generation
            The dead one's.
        known
            The entry, where the caller has read it just now; saves reading it here.

        Returns
        -------
        Entry or None
            None where the job is unknown, is not dead, or has been replayed on.
        """
        old = known or self.get(job_id)
        if old is None or old.generation not in (generation, generation + 1):
            return None
        if old.generation == generation + 1:
            return old if old.state is JobState.ACCEPTED else None
        now = self._clock()
        done = self._table.update(
            job_id,
            "SET #state = :accepted, generation = :next, attempts = :zero, crashes = :zero, "
            "updated = :now, replayed = :now, not_after = :not_after, expires = :expires, "
            "watch = :watch "
            "ADD replays :one "
            "REMOVE finished, acceptance, #reason, #cause, #error, #due, "
            "progress_done, progress_total, phase, cancel_asked, run_before, not_before, "
            "suspicions, suspected, alone",
            f"#state = :dead AND {of_generation(generation)}",
            {
                ":accepted": JobState.ACCEPTED,
                ":dead": JobState.DEAD,
                ":generation": generation,
                ":next": generation + 1,
                ":zero": 0,
                ":one": 1,
                ":now": now,
                ":not_after": int(now + old.not_after - old.since),
                ":expires": int(now + self._keep),
                ":watch": sharded(open_watch(old.lane), job_id, self._shards),
            },
            new=True,
        )
        if isinstance(done, Written):
            return done.entry
        entry = done.entry
        replayed = entry is not None and entry.generation == generation + 1
        return entry if replayed and entry and entry.state is JobState.ACCEPTED else None

    def resolve(self, job_id: str, *, generation: int) -> bool:
        """Let a dead job expire: somebody has discarded its letter.

        False where it is not dead in this generation, or has been resolved.
        """
        now = self._clock()
        return self._update(
            job_id,
            "SET updated = :now, expires = :expires REMOVE watch",
            f"#state = :dead AND attribute_not_exists(expires) AND {of_generation(generation)}",
            {
                ":dead": JobState.DEAD,
                ":generation": generation,
                ":now": now,
                ":expires": int(now + self._keep),
            },
        )
