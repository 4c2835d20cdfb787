"""The ledger's operations, each one conditional write.

A *delivery token* names one receive of one message. A claim stores it and
raises the fence; whatever follows is conditional on it, so that an attempt
that lost its lease cannot record anything any more.

`watch` is the key of a sparse index: `open#<lane>` until the job has ended,
`dead` while it is dead, absent after any other end. Claims, retries and
renewals leave it alone, so that only acceptance and end write the index.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sealwax.aws import dynamodb_value
from sealwax.ledger.entry import DEAD_WATCH, Entry, NewJob, State, open_watch
from sealwax.ledger.errors import ClaimLost
from sealwax.ledger.listing import Needing, Page, batch, needing, query
from sealwax.ledger.table import Conflict, Table, Written

__all__ = ["Accepted", "Claimed", "Ledger", "Refused"]

#: Entries that `oldest` looks at: replayed ones stand at the place of their
#: first acceptance, the one that has waited longest may stand behind them.
_OLDEST_OF = 25


@dataclass(frozen=True)
class Accepted:
    """The outcome of `Ledger.accept`: `created` is False where the id was known."""

    created: bool
    entry: Entry


@dataclass(frozen=True)
class Claimed:
    """This attempt may run: its number is `entry.attempts`."""

    entry: Entry


@dataclass(frozen=True)
class Refused:
    """This attempt must not run; `entry` is None where the job is unknown."""

    entry: Entry | None


class Ledger:
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
    """

    def __init__(
        self,
        client: Any,
        table: str,
        *,
        keep: float = 18 * 86_400,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._table = Table(client, table)
        self._keep = keep
        self._clock = clock

    # -- reading ---------------------------------------------------------------

    def get(self, job_id: str) -> Entry | None:
        """Return a job's entry, read consistently, or None.

        Raises
        ------
        LedgerUnreachable, LedgerDenied
        """
        return self._table.get(job_id)

    def many(self, job_ids: list[str]) -> dict[str, Entry]:
        """Return the entries of up to 100 jobs that exist, by id, read consistently."""
        return batch(self._table, job_ids)

    def oldest(self, lane: str) -> Entry | None:
        """Return the open job of a lane that has waited longest, or None.

        Read from an index, so it may be a moment behind. A replayed job has
        waited since its replay.
        """
        found = self.watching(open_watch(lane), limit=_OLDEST_OF).entries
        return min(found, key=lambda entry: entry.since, default=None)

    def watching(self, watch: str, after: str | None = None, limit: int = 100) -> Page:
        """Return a page of the jobs under `open#<lane>` or `dead`, the oldest first.

        Parameters
        ----------
        after
            The last page's `after`.
        limit
            At most this many entries, 1 to 100.
        """
        return query(self._table, "by-watch", key="watch", value=watch, after=after, limit=limit)

    def of_tenant(
        self, tenant: str, after: str | None = None, limit: int = 100, *, newest_first: bool = True
    ) -> Page:
        """Return a page of a tenant's jobs, in whatever state; `tenant` is the tenant's HMAC."""
        return query(
            self._table,
            "by-tenant",
            key="tenant",
            value=tenant,
            after=after,
            limit=limit,
            newest_first=newest_first,
        )

    # -- the API's part ----------------------------------------------------------

    def accept(self, job: NewJob) -> Accepted:
        """Record a new job, or return the entry that its id already has.

        One conditional put: this is also the whole of idempotency, since the id
        is derived from the caller's key.
        """
        item: dict[str, Any] = {
            name: dynamodb_value(value) for name, value in vars(job).items() if value is not None
        }
        item["state"] = {"S": State.ACCEPTED}
        item["updated"] = item["created"]
        item["attempts"] = {"N": "0"}
        item["watch"] = {"S": open_watch(job.lane)}
        done = self._table.put(item, "attribute_not_exists(id)")
        if isinstance(done, Written):
            return Accepted(created=True, entry=Entry.from_item(item))
        entry = done.entry or self.get(job.id)
        if entry is None:  # expired between the two calls
            return self.accept(job)
        return Accepted(created=False, entry=entry)

    def reaccept(self, job: NewJob) -> bool:
        """Turn an abandoned job into an accepted one; False if it is no longer abandoned."""
        return self._update(
            job.id,
            "SET #state = :accepted, updated = :now, created = :now, not_after = :not_after, "
            "expires = :expires, acceptance = :acceptance, watch = :watch REMOVE finished",
            "#state = :abandoned",
            {
                ":watch": open_watch(job.lane),
                ":acceptance": job.acceptance,
                ":accepted": State.ACCEPTED,
                ":abandoned": State.ABANDONED,
                ":now": job.created,
                ":not_after": job.not_after,
                ":expires": job.expires,
            },
        )

    def disown(self, job_id: str) -> bool:
        """Let nobody abandon the job any more: a repeat of its request is about to send it.

        False where it is no longer waiting for its first claim.
        """
        return self._update(
            job_id,
            "SET updated = :now REMOVE acceptance",
            "#state = :accepted",
            {":accepted": State.ACCEPTED, ":now": self._clock()},
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
                ":accepted": State.ACCEPTED,
                ":abandoned": State.ABANDONED,
                ":now": self._clock(),
            },
        )

    # -- the worker's part -------------------------------------------------------

    def claim(
        self, job_id: str, *, token: str, lease: float, generation: int = 0
    ) -> Claimed | Refused:
        """Start an attempt: store the delivery token, raise the fence, count the attempt.

        Refused where the job is unknown, has ended, is of another generation, or
        runs under a lease that has not ended; the caller looks at the entry. A
        repeat with the same token (its first response was lost) is granted
        again, uncounted.

        Call it only after the envelope was opened: a job that is dead because a
        message that nobody verified bore its id comes back to life with its
        genuine one, so that somebody who can write to the queue cannot end other
        people's jobs.

        Parameters
        ----------
        token
            Random name of this receive.
        lease
            Seconds until others may claim it, if it is not renewed.
        generation
            The message's: each replay of the job raises the job's.
        """
        done = self._claim(
            job_id,
            token,
            lease,
            generation,
            "#state IN (:accepted, :retrying) OR "
            "(#state = :running AND lease_until < :now AND #token <> :token)",
        )
        if isinstance(done, Conflict):
            entry = done.entry or self.get(job_id)
            if entry is None or entry.generation != generation:
                return Refused(entry)
            if entry.state is State.RUNNING and entry.token == token:
                return Claimed(entry)
            if not entry.unverified or entry.state is not State.DEAD:
                return Refused(entry)
            # Apart from the usual claim, which must not name the index's key.
            done = self._claim(
                job_id,
                token,
                lease,
                generation,
                "#state = :dead AND unverified = :yes",
                watch=open_watch(entry.lane),
            )
        if isinstance(done, Conflict) or done.entry is None:
            return Refused(self.get(job_id))
        return Claimed(done.entry)

    def _claim(
        self,
        job_id: str,
        token: str,
        lease: float,
        generation: int,
        condition: str,
        *,
        watch: str | None = None,
    ) -> Written | Conflict:
        now = self._clock()
        values: dict[str, Any] = {
            ":accepted": State.ACCEPTED,
            ":retrying": State.RETRYING,
            ":running": State.RUNNING,
            ":token": token,
            ":now": now,
            ":lease": now + lease,
            ":dead": State.DEAD,
            ":yes": True,
            ":expires": int(now + self._keep),
            ":one": 1,
            ":zero": 0,
            ":generation": generation,
            ":watch": watch,
        }
        same = "generation = :generation"
        if generation == 0:
            same = f"(attribute_not_exists(generation) OR {same})"
        return self._table.update(
            job_id,
            "SET #state = :running, #token = :token, lease_until = :lease, updated = :now, "
            "started = :now, fence = if_not_exists(fence, :zero) + :one, "
            f"expires = if_not_exists(expires, :expires){', watch = :watch' if watch else ''} "
            "ADD attempts :one "
            "REMOVE #due, finished, unverified, acceptance, #reason, #cause, #error",
            f"{same} AND ({condition})",
            values,
            new=True,
        )

    def renew(self, job_id: str, *, token: str, lease: float) -> bool:
        """Push the lease's end out; False where the claim is lost."""
        now = self._clock()
        return self._update(
            job_id,
            "SET lease_until = :lease, updated = :now",
            "#state = :running AND #token = :token",
            {":running": State.RUNNING, ":token": token, ":lease": now + lease, ":now": now},
        )

    def progress(
        self, job_id: str, *, token: str, done: int, total: int | None, phase: str | None
    ) -> bool:
        """Record how far an attempt is; False where the claim is lost."""
        values: dict[str, Any] = {
            ":running": State.RUNNING,
            ":token": token,
            ":now": self._clock(),
            ":done": done,
        }
        sets = ["updated = :now", "progress_done = :done"]
        for name, value in (("progress_total", total), ("phase", phase)):
            if value is not None:
                sets.append(f"{name} = :{name}")
                values[f":{name}"] = value
        return self._update(
            job_id, "SET " + ", ".join(sets), "#state = :running AND #token = :token", values
        )

    def needing(self, key_id: str) -> Needing:
        """Count the jobs whose envelopes or results need a key; reads the whole table."""
        return needing(self._table, key_id)

    def succeed(
        self, job_id: str, *, token: str, result: str | None, omitted: str | None = None
    ) -> None:
        """Record success with the sealed result.

        Raises
        ------
        ClaimLost
            Where another attempt holds the job: this outcome is not recorded.
        """
        now = self._clock()
        values: dict[str, Any] = {":state": State.SUCCEEDED, ":now": now}
        sets = ["#state = :state", "updated = :now", "finished = :now"]
        if result is not None:
            sets.append("#result = :result")
            values[":result"] = result
        if omitted is not None:
            sets.append("result_omitted = :omitted")
            values[":omitted"] = omitted
        self._finish(job_id, token, sets, values, remove="lease_until, #due, watch")

    def retry(self, job_id: str, *, token: str, due: float, cause: str, error: str) -> None:
        """Record a failed attempt that will be tried again at `due` (epoch seconds).

        Raises
        ------
        ClaimLost
        """
        self._finish(
            job_id,
            token,
            [
                "#state = :state",
                "updated = :now",
                "#due = :due",
                "#cause = :cause",
                "#error = :error",
            ],
            {
                ":state": State.RETRYING,
                ":now": self._clock(),
                ":due": due,
                ":cause": cause,
                ":error": error,
            },
            remove="lease_until",
        )

    def release(self, job_id: str, *, token: str) -> None:
        """Give an attempt back that did nothing; it is not counted.

        Raises
        ------
        ClaimLost
        """
        self._finish(
            job_id,
            token,
            ["#state = :state", "updated = :now", "attempts = attempts - :one"],
            {":state": State.RETRYING, ":now": self._clock(), ":one": 1},
            remove="lease_until",
        )

    def expire(self, job_id: str) -> bool:
        """Record that the job was too old to start; False where it has ended or runs."""
        return self._update(
            job_id,
            "SET #state = :expired, updated = :now, finished = :now REMOVE watch, #due",
            "#state IN (:accepted, :retrying)",
            {
                ":expired": State.EXPIRED,
                ":now": self._clock(),
                ":accepted": State.ACCEPTED,
                ":retrying": State.RETRYING,
            },
        )

    def die(  # the record of a death has this many parts
        self,
        job_id: str,
        *,
        token: str | None,
        reason: str,
        cause: str,
        error: str,
        verified: bool = False,
    ) -> bool:
        """Record that the job is dead, before its message goes to the dead-letter queue.

        The entry loses its expiry: dead jobs stay until somebody resolves them.

        Parameters
        ----------
        token
            The claim's; None where nobody could claim (unknown task, malformed,
            worker lost): then any state that is not final will do.
        verified
            Without a token: whether the message was known to be the job's own.
            If not, its genuine message undoes the death.

        Returns
        -------
        bool
            Whether the job is dead now; False where it has ended otherwise, is
            unknown, or another attempt holds it.
        """
        condition = "#state = :running AND #token = :token"
        values: dict[str, Any] = {
            ":state": State.DEAD,
            ":dead": DEAD_WATCH,
            ":now": self._clock(),
            ":reason": reason,
            ":cause": cause,
            ":error": error,
            ":running": State.RUNNING,
        }
        if token is None:
            condition = (
                "#state IN (:accepted, :retrying) OR (#state = :running AND lease_until < :now)"
            )
            values |= {":accepted": State.ACCEPTED, ":retrying": State.RETRYING}
        else:
            values[":token"] = token
        mark = ""
        if token is None and not verified:
            mark = ", unverified = :yes"
            values[":yes"] = True
        done = self._update(
            job_id,
            "SET #state = :state, updated = :now, finished = :now, #reason = :reason, "
            f"watch = :dead, #cause = :cause, #error = :error{mark} "
            "REMOVE expires, lease_until, #due",
            condition,
            values,
        )
        if done:
            return True
        entry = self.get(job_id)
        return entry is not None and entry.state is State.DEAD

    def crash(self, job_id: str, *, token: str) -> Entry:
        """Count that this attempt's process died; return the entry after it.

        Raises
        ------
        ClaimLost
            Where the job has ended or another attempt holds it.
        """
        done = self._table.update(
            job_id,
            "SET #state = :retrying, updated = :now ADD crashes :one REMOVE lease_until",
            "#state = :running AND #token = :token",
            {
                ":running": State.RUNNING,
                ":retrying": State.RETRYING,
                ":token": token,
                ":now": self._clock(),
                ":one": 1,
            },
            new=True,
        )
        if isinstance(done, Conflict) or done.entry is None:
            raise ClaimLost
        return done.entry

    # -- the steward's part --------------------------------------------------------

    def replay(self, job_id: str, *, generation: int) -> Entry | None:
        """Accept a dead job again, as its next generation; its message is to be sent then.

        Attempts and crashes begin anew, and so does its age. Messages of the
        generation before are acknowledged when they arrive. A repeat, because
        the first response was lost, gives the same entry.

        Parameters
        ----------
        generation
            The dead one's.

        Returns
        -------
        Entry or None
            None where the job is unknown, is not dead, or has been replayed on.
        """
        old = self.get(job_id)
        if old is None or old.generation not in (generation, generation + 1):
            return None
        if old.generation == generation + 1:
            return old if old.state is State.ACCEPTED else None
        now = self._clock()
        same = "generation = :generation"
        if generation == 0:
            same = f"(attribute_not_exists(generation) OR {same})"
        done = self._table.update(
            job_id,
            "SET #state = :accepted, generation = :next, attempts = :zero, crashes = :zero, "
            "updated = :now, replayed = :now, not_after = :not_after, expires = :expires, "
            "watch = :watch "
            "ADD replays :one "
            "REMOVE finished, unverified, acceptance, #reason, #cause, #error, #due, "
            "progress_done, progress_total, phase",
            f"#state = :dead AND {same}",
            {
                ":accepted": State.ACCEPTED,
                ":dead": State.DEAD,
                ":generation": generation,
                ":next": generation + 1,
                ":zero": 0,
                ":one": 1,
                ":now": now,
                ":not_after": int(now + old.not_after - old.since),
                ":expires": int(now + self._keep),
                ":watch": open_watch(old.lane),
            },
            new=True,
        )
        if isinstance(done, Written):
            return done.entry
        entry = done.entry
        replayed = entry is not None and entry.generation == generation + 1
        return entry if replayed and entry and entry.state is State.ACCEPTED else None

    def resolve(self, job_id: str, *, generation: int) -> bool:
        """Let a dead job expire: somebody has discarded its letter.

        False where it is not dead in this generation, or has been resolved.
        """
        same = "generation = :generation"
        if generation == 0:
            same = f"(attribute_not_exists(generation) OR {same})"
        now = self._clock()
        return self._update(
            job_id,
            "SET updated = :now, expires = :expires REMOVE watch",
            f"#state = :dead AND attribute_not_exists(expires) AND {same}",
            {
                ":dead": State.DEAD,
                ":generation": generation,
                ":now": now,
                ":expires": int(now + self._keep),
            },
        )

    # -- plumbing ------------------------------------------------------------------

    def _finish(
        self, job_id: str, token: str, sets: list[str], values: dict[str, Any], *, remove: str
    ) -> None:
        done = self._update(
            job_id,
            f"SET {', '.join(sets)} REMOVE {remove}",
            "#state = :running AND #token = :token",
            values | {":running": State.RUNNING, ":token": token},
        )
        if done:
            return
        # The first try's response may have been lost: then it is recorded already.
        entry = self.get(job_id)
        if entry is None or entry.token != token or entry.state != values[":state"]:
            raise ClaimLost

    def _update(self, job_id: str, update: str, condition: str, values: dict[str, Any]) -> bool:
        return isinstance(self._table.update(job_id, update, condition, values), Written)
