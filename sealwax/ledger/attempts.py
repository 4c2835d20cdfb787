"""How attempts end: with success, to be tried again, dead, given back.

Part of `Ledger`; called by workers. Each record is conditional on the claim's
delivery token; see `sealwax.ledger.claims`.
"""

from __future__ import annotations

from typing import Any

from sealwax.aws.shards import sharded
from sealwax.ledger.claims import Claims
from sealwax.ledger.entry import DEAD_WATCH, JobState, LedgerEntry
from sealwax.ledger.errors import ClaimLost
from sealwax.ledger.table import Conflict, Written, of_generation

__all__ = ["Attempts"]


class Attempts(Claims):
    """What an attempt records when it ends."""

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
        values: dict[str, Any] = {":state": JobState.SUCCEEDED, ":now": now}
        sets = ["#state = :state", "updated = :now", "finished = :now"]
        if result is not None:
            sets.append("#result = :result")
            values[":result"] = result
        if omitted is not None:
            sets.append("result_omitted = :omitted")
            values[":omitted"] = omitted
        self._finish(job_id, token, sets, values, remove="lease_until, #due, watch")

    def retry(
        self,
        job_id: str,
        *,
        token: str,
        due: float,
        cause: str,
        error: str,
        suspicions: int = 0,
    ) -> bool:
        """Record a failed attempt that will be tried again at `due` (epoch seconds).

        Parameters
        ----------
        suspicions
            The job's as it was claimed: its worker has survived this attempt,
            so one of them goes.

        Returns
        -------
        bool
            False where somebody had asked to cancel the job: it is cancelled now.

        Raises
        ------
        ClaimLost
        """
        sets = [
            "#state = :state",
            "updated = :now",
            "#due = :due",
            "#cause = :cause",
            "#error = :error",
        ]
        if suspicions > 1:
            sets.append("suspicions = :left")
        recorded = self._finish(
            job_id,
            token,
            sets,
            {
                ":state": JobState.RETRYING,
                ":now": self._clock(),
                ":due": due,
                ":cause": cause,
                ":error": error,
                ":left": suspicions - 1,
            },
            remove="lease_until, alone" + (", suspicions" if suspicions == 1 else ""),
            unless_cancelled=True,
        )
        if not recorded:
            self.stop(job_id, token=token)
        return recorded

    def stop(self, job_id: str, *, token: str) -> None:
        """Record that an attempt ended because the job was to be cancelled.

        Raises
        ------
        ClaimLost
        """
        self._finish(
            job_id,
            token,
            ["#state = :state", "updated = :now", "finished = :now"],
            {":state": JobState.CANCELLED, ":now": self._clock()},
            remove="lease_until, #due, watch",
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
            {":state": JobState.RETRYING, ":now": self._clock(), ":one": 1},
            remove="lease_until",
        )

    def die(  # the record of a death has this many parts
        self,
        job_id: str,
        *,
        token: str | None,
        reason: str,
        cause: str,
        error: str,
        generation: int | None = None,
    ) -> bool:
        """Record that the job is dead, before its message goes to the dead-letter queue.

        The entry loses its expiry: dead jobs stay until somebody resolves them.

        Parameters
        ----------
        token
            The claim's; None where nobody could claim (unknown task, key retired,
            worker lost): then any state that is not final will do. Only for a
            message that was verified as the job's own.
        generation
            The message's; without a token the entry must be of it. None: not compared.

        Returns
        -------
        bool
            Whether the job is dead now; False where it has ended otherwise, is
            unknown, or another attempt holds it.
        """
        condition = "#state = :running AND #token = :token"
        values: dict[str, Any] = {
            ":state": JobState.DEAD,
            ":dead": sharded(DEAD_WATCH, job_id, self._shards),
            ":now": self._clock(),
            ":reason": reason,
            ":cause": cause,
            ":error": error,
            ":running": JobState.RUNNING,
        }
        if token is None:
            condition = (
                "(#state IN (:accepted, :retrying) OR (#state = :running AND lease_until < :now))"
            )
            values |= {":accepted": JobState.ACCEPTED, ":retrying": JobState.RETRYING}
            if generation is not None:
                condition += f" AND {of_generation(generation)}"
                values[":generation"] = generation
        else:
            values[":token"] = token
        done = self._table.update(
            job_id,
            "SET #state = :state, updated = :now, finished = :now, #reason = :reason, "
            "watch = :dead, #cause = :cause, #error = :error "
            "REMOVE expires, lease_until, #due",
            condition,
            values,
        )
        if isinstance(done, Written):
            return True
        entry = done.entry or self._table.get(job_id)
        if token is not None:
            self._came_back(entry, token)
        return entry is not None and entry.state is JobState.DEAD

    def crash(self, job_id: str, *, token: str, due: float | None = None) -> LedgerEntry:
        """Count that this attempt's process died; return the entry after it.

        Parameters
        ----------
        due
            Epoch seconds from which the job may start again; None: at once.

        Raises
        ------
        ClaimLost
            Where the job has ended or another attempt holds it.
        """
        done = self._table.update(
            job_id,
            f"SET #state = :retrying, updated = :now{'' if due is None else ', #due = :due'} "
            "ADD crashes :one REMOVE lease_until, alone",
            "#state = :running AND #token = :token",
            {
                ":running": JobState.RUNNING,
                ":retrying": JobState.RETRYING,
                ":token": token,
                ":now": self._clock(),
                ":one": 1,
                **({} if due is None else {":due": due}),
            },
            new=True,
        )
        if isinstance(done, Conflict):
            self._came_back(done.entry, token)
        if isinstance(done, Conflict) or done.entry is None:
            raise ClaimLost
        return done.entry

    def _finish(
        self,
        job_id: str,
        token: str,
        sets: list[str],
        values: dict[str, Any],
        *,
        remove: str,
        unless_cancelled: bool = False,
    ) -> bool:
        condition = "#state = :running AND #token = :token"
        if unless_cancelled:
            condition += " AND attribute_not_exists(cancel_asked)"
        done = self._table.update(
            job_id,
            f"SET {', '.join(sets)} REMOVE {remove}",
            condition,
            values | {":running": JobState.RUNNING, ":token": token},
        )
        if isinstance(done, Written):
            return True
        # The first try's response may have been lost: then it is recorded already.
        entry = done.entry or self._table.get(job_id)
        if self._came_back(entry, token):
            raise ClaimLost
        if entry is not None and entry.token == token:
            if entry.state == values[":state"]:
                return True
            stopped = entry.state is JobState.CANCELLED or (
                entry.state is JobState.RUNNING and entry.cancel_asked is not None
            )
            if unless_cancelled and stopped:
                return False
        raise ClaimLost
