"""A job's claim: taken for an attempt, kept by renewing, lost, and taken back.

Part of `Ledger`; called by workers. A *delivery token* names one receive of one
message. A claim stores it and raises the fence; whatever follows is conditional
on it, so that an attempt that lost its lease cannot record anything any more.
How attempts end stands in `sealwax.ledger.attempts`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sealwax.ledger.entry import JobState, LedgerEntry
from sealwax.ledger.table import Conflict, Writer, Written, of_generation

__all__ = ["EARLY", "LOST_MOST", "SUSPICIONS", "Claimed", "Claims", "Refused"]

#: How much before its time a retry may start, in seconds: SQS counts in whole
#: ones, and no two clocks agree.
EARLY = 2.0

#: Whole workers lost under a job after which it runs alone.
SUSPICIONS = 2

#: Whole workers lost under a job after which each further one is its crash, alone or not:
#: its neighbours change, it was there each time.
LOST_MOST = 6

#: Follows a token in `suspected` whose loss counted as a crash.
_CHARGED = "!"

#: The stored one names a shard, and not always of as many as there are now.
_OF_TENANT = "(tenant = :tenant OR begins_with(tenant, :tenant_shards))"

_VALUE = re.compile(r":[a-z_]+")


@dataclass(frozen=True)
class Claimed:
    """This attempt may run: its number is `entry.attempts`."""

    entry: LedgerEntry


@dataclass(frozen=True)
class Refused:
    """This attempt must not run; `entry` is None where the job is unknown."""

    entry: LedgerEntry | None


class Claims(Writer):
    """What an attempt records before it ends."""

    def claim(
        self,
        job_id: str,
        *,
        token: str,
        lease: float,
        generation: int = 0,
        alone: bool = False,
        beside: bool = False,
        task: str | None = None,
        tenant: str | None = None,
        lane: str | None = None,
        claim_check: str | None = None,
        born_by: float | None = None,
    ) -> Claimed | Refused:
        """Start an attempt: store the delivery token, raise the fence, count the attempt.

        Refused where the job is unknown, has ended, runs, is of another
        generation, is to be cancelled, must not start any more or not yet, or
        may only run alone; the caller looks at the entry. A repeat with the same
        token (its first response was lost) is granted again, uncounted.

        Call it only after the envelope was verified.

        Parameters
        ----------
        token
            Random name of this receive.
        lease
            Seconds until others may suspect it, if it is not renewed.
        generation
            The message's: each replay of the job raises the job's.
        alone
            Whether nothing else runs in this worker meanwhile.
        beside
            Whether it may be claimed beside others although it should run alone.
        task, tenant
            As the envelope's signature binds it; refused where the entry has others.
        lane
            From whose queue the message came; refused where it is not the entry's.
        claim_check
            The reference that the message carries; refused where the entry
            records others. None where the message carries its envelope.
        born_by
            Epoch seconds; refused where the job was accepted later, so that the
            message is of a job before it that had the same id.
        """
        bound = {
            "task = :task": task,
            _OF_TENANT: tenant,
            "lane = :lane": lane,
            "(attribute_not_exists(claim_checks) OR contains(claim_checks, :claim_check))": (
                claim_check
            ),
            "created <= :born_by": born_by,
        }
        done = self._claim(
            job_id, token, lease, generation, alone=alone, beside=beside, bound=bound
        )
        if isinstance(done, Conflict):
            entry = done.entry or self._table.get(job_id)
            if entry is None or entry.generation != generation:
                return Refused(entry)
            if entry.state is JobState.RUNNING and entry.token == token:
                return Claimed(entry)
            return Refused(entry)
        if done.entry is None:
            return Refused(self._table.get(job_id))
        return Claimed(done.entry)

    def _claim(
        self,
        job_id: str,
        token: str,
        lease: float,
        generation: int,
        *,
        alone: bool,
        beside: bool,
        bound: Mapping[str, str | float | None],
    ) -> Written | Conflict:
        now = self._clock()
        sets = [
            "#state = :running",
            "#token = :token",
            "lease_until = :lease",
            "updated = :now",
            "started = :now",
            "fence = if_not_exists(fence, :zero) + :one",
            "expires = if_not_exists(expires, :expires)",
        ]
        removes = "#due, finished, acceptance, #reason, #cause, #error"
        conditions = [
            of_generation(generation),
            "#state IN (:accepted, :retrying)",
            "attribute_not_exists(cancel_asked)",
            "(attribute_not_exists(run_before) OR run_before > :now)",
            "(attribute_not_exists(not_before) OR not_before <= :soon)",
            "(attribute_not_exists(#due) OR #due <= :soon)",
        ]
        conditions += [condition for condition, value in bound.items() if value is not None]
        if alone:
            sets.append("alone = :yes")
        else:
            removes += ", alone"
        if not (alone or beside):
            conditions.append("(attribute_not_exists(suspicions) OR suspicions < :suspicions)")
        return self._table.update(
            job_id,
            f"SET {', '.join(sets)} ADD attempts :one REMOVE {removes}",
            " AND ".join(conditions),
            {
                ":accepted": JobState.ACCEPTED,
                ":retrying": JobState.RETRYING,
                ":running": JobState.RUNNING,
                ":token": token,
                ":now": now,
                ":soon": now + EARLY,
                ":lease": now + lease,
                ":yes": True,
                ":expires": int(now + self._keep),
                ":one": 1,
                ":zero": 0,
                ":generation": generation,
                **{_VALUE.findall(condition)[0]: value for condition, value in bound.items()},
                ":tenant_shards": f"{bound[_OF_TENANT]}#",
                ":suspicions": SUSPICIONS,
            },
            new=True,
        )

    def suspect(self, entry: LedgerEntry) -> LedgerEntry | None:
        """Take a job from an attempt that let its lease end; None where it has not.

        Its whole worker is gone, or cut off, and nobody knows whether the job
        did it or a neighbour: the attempt is given back and leaves a suspicion.
        After two of them the job runs alone; an attempt lost alone is the job's
        own crash, and counted. So is each after `LOST_MOST` in a row.

        A worker that was only cut off takes it back at its next word: the token
        is remembered for that.
        """
        charged = entry.alone or entry.suspicions >= LOST_MOST
        counts = "crashes :one" if charged else "suspicions :one, attempts :less"
        done = self._table.update(
            entry.id,
            f"SET #state = :retrying, updated = :now ADD {counts}, suspected :suspected "
            "REMOVE lease_until, #due, alone",
            "#state = :running AND #token = :token AND lease_until < :now",
            {
                ":suspected": frozenset([f"{entry.token}{_CHARGED if charged else ''}"]),
                ":running": JobState.RUNNING,
                ":retrying": JobState.RETRYING,
                ":token": entry.token,
                ":now": self._clock(),
                ":one": 1,
                ":less": -1,
            },
            new=True,
        )
        return done.entry if isinstance(done, Written) else None

    def _came_back(self, entry: LedgerEntry | None, token: str) -> bool:
        """Take back what an attempt's lost lease was held against its job for: its worker lives.

        Returns whether there was something to take back. Called with what stood
        in the way of an attempt's write: it costs a call only where there was.
        """
        if entry is None or entry.final:
            return False
        for suspect, count in ((token, "suspicions"), (f"{token}{_CHARGED}", "crashes")):
            if suspect in entry.suspected:
                self._table.update(
                    entry.id,
                    f"DELETE suspected :suspected ADD {count} :less",
                    f"contains(suspected, :suspect) AND {count} > :zero",
                    {
                        ":suspected": frozenset([suspect]),
                        ":suspect": suspect,
                        ":less": -1,
                        ":zero": 0,
                    },
                )
                return True
        return False

    def _held(self, job_id: str, token: str, update: str, values: dict[str, Any]) -> bool:
        """Update an entry for the attempt that holds it; False where the claim is lost."""
        done = self._table.update(
            job_id,
            update,
            "#state = :running AND #token = :token",
            values | {":running": JobState.RUNNING, ":token": token, ":now": self._clock()},
        )
        if isinstance(done, Conflict):
            self._came_back(done.entry, token)
        return isinstance(done, Written)

    def renew(self, job_id: str, *, token: str, lease: float) -> bool:
        """Push the lease's end out; False where the claim is lost."""
        update = "SET lease_until = :lease, updated = :now"
        return self._held(job_id, token, update, {":lease": self._clock() + lease})

    def not_alone(self, job_id: str, *, token: str) -> bool:
        """Record that an attempt which began alone has neighbours now; False: claim lost."""
        return self._held(job_id, token, "SET updated = :now REMOVE alone", {})

    def progress(
        self, job_id: str, *, token: str, done: int, total: int | None, phase: str | None
    ) -> bool:
        """Record how far an attempt is; False where the claim is lost."""
        values: dict[str, Any] = {":done": done}
        sets = ["updated = :now", "progress_done = :done"]
        for name, value in (("progress_total", total), ("phase", phase)):
            if value is not None:
                sets.append(f"{name} = :{name}")
                values[f":{name}"] = value
        return self._held(job_id, token, "SET " + ", ".join(sets), values)
