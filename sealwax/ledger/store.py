"""The ledger's operations, each one conditional write.

A *delivery token* names one receive of one message. A claim stores it and
raises the fence; whatever follows is conditional on it, so that an attempt
that lost its lease cannot record anything any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from sealwax.aws import dynamodb_value, error_code
from sealwax.envelope import EnvelopeError, peek
from sealwax.ledger.entry import FINAL, Entry, NewJob, State
from sealwax.ledger.errors import ClaimLost, LedgerDenied, LedgerUnreachable

__all__ = ["Accepted", "Claimed", "Ledger", "Needing", "Refused"]

#: AWS error codes after which the same call may succeed later.
#: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
_TRANSIENT = frozenset(
    {
        "InternalServerError",
        "InternalFailure",
        "ServiceUnavailable",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "Throttling",
        "TransactionConflictException",
        "LimitExceededException",
        "ExpiredTokenException",
        "RequestTimeout",
        "500",
        "502",
        "503",
        "504",
    }
)


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


@dataclass(frozen=True)
class Needing:
    """How many jobs need a key: open ones, dead ones, and results."""

    open: int
    dead: int
    results: int


def _needs(result: str, key_id: str) -> bool:
    try:
        header = peek(result)
    except EnvelopeError:
        return False
    return key_id in (header.recipient, header.signer)


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
        self._client = client
        self._table = table
        self._keep = keep
        self._clock = clock

    # -- reading ---------------------------------------------------------------

    def get(self, job_id: str) -> Entry | None:
        """Return a job's entry, read consistently, or None.

        Raises
        ------
        LedgerUnreachable, LedgerDenied
        """
        answer = self._call(
            "get_item", TableName=self._table, Key={"id": {"S": job_id}}, ConsistentRead=True
        )
        item = answer.get("Item")
        return Entry.from_item(item) if item else None

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
        old = self._conditional(
            "put_item", Item=item, ConditionExpression="attribute_not_exists(id)"
        )
        if old is None:
            return Accepted(created=True, entry=Entry.from_item(item))
        entry = old if old is not _MISSING else self.get(job.id)
        if not isinstance(entry, Entry):  # expired between the two calls
            return self.accept(job)
        return Accepted(created=False, entry=entry)

    def reaccept(self, job: NewJob) -> bool:
        """Turn an abandoned job into an accepted one; False if it is no longer abandoned."""
        return self._update(
            job.id,
            "SET #state = :accepted, updated = :now, created = :now, not_after = :not_after, "
            "expires = :expires, acceptance = :acceptance REMOVE finished",
            "#state = :abandoned",
            {
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
            "SET #state = :abandoned, updated = :now, finished = :now",
            "#state = :accepted AND acceptance = :acceptance",
            {
                ":acceptance": acceptance,
                ":accepted": State.ACCEPTED,
                ":abandoned": State.ABANDONED,
                ":now": self._clock(),
            },
        )

    # -- the worker's part -------------------------------------------------------

    def claim(self, job_id: str, *, token: str, lease: float) -> Claimed | Refused:
        """Start an attempt: store the delivery token, raise the fence, count the attempt.

        Refused where the job is unknown, has ended, or runs under a lease that
        has not ended; the caller looks at the entry's state. A repeat with the
        same token (its first response was lost) is granted again, uncounted.

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
        """
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
        }
        old = self._conditional(
            "update_item",
            Key={"id": {"S": job_id}},
            UpdateExpression=(
                "SET #state = :running, #token = :token, lease_until = :lease, updated = :now, "
                "started = :now, fence = if_not_exists(fence, :zero) + :one, "
                "expires = if_not_exists(expires, :expires) "
                "ADD attempts :one "
                "REMOVE due, finished, unverified, acceptance, #reason, #cause, #error"
            ),
            ConditionExpression=(
                "#state IN (:accepted, :retrying) OR "
                "(#state = :running AND lease_until < :now AND #token <> :token) OR "
                "(#state = :dead AND unverified = :yes)"
            ),
            ExpressionAttributeNames={
                "#state": "state",
                "#token": "token",
                "#reason": "reason",
                "#cause": "cause",
                "#error": "error",
            },
            ExpressionAttributeValues={k: dynamodb_value(v) for k, v in values.items()},
            ReturnValues="ALL_NEW",
        )
        if isinstance(old, _New):
            return Claimed(Entry.from_item(old.item))
        entry = old if isinstance(old, Entry) else self.get(job_id)
        if entry is not None and entry.state is State.RUNNING and entry.token == token:
            return Claimed(entry)
        return Refused(entry)

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
        counts = {"open": 0, "dead": 0, "results": 0}
        start: dict[str, Any] = {}
        while True:
            page = self._call(
                "scan",
                TableName=self._table,
                ConsistentRead=True,
                ProjectionExpression="#state, recipient, signer, #result",
                ExpressionAttributeNames={"#state": "state", "#result": "result"},
                **start,
            )
            for item in page.get("Items", []):
                state = State(item["state"]["S"])
                sealed = key_id in (
                    item.get("recipient", {}).get("S"),
                    item.get("signer", {}).get("S"),
                )
                if sealed and state is State.DEAD:
                    counts["dead"] += 1
                elif sealed and state not in FINAL:
                    counts["open"] += 1
                if "result" in item and _needs(item["result"]["S"], key_id):
                    counts["results"] += 1
            if not page.get("LastEvaluatedKey"):
                return Needing(**counts)
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

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
        self._finish(job_id, token, sets, values, remove="lease_until, due")

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
            "SET #state = :expired, updated = :now, finished = :now",
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
            f"#cause = :cause, #error = :error{mark} REMOVE expires, lease_until, #due",
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
        names = {"#state": "state", "#token": "token"}
        values = {
            ":running": State.RUNNING,
            ":retrying": State.RETRYING,
            ":token": token,
            ":now": self._clock(),
            ":one": 1,
        }
        old = self._conditional(
            "update_item",
            Key={"id": {"S": job_id}},
            UpdateExpression=(
                "SET #state = :retrying, updated = :now ADD crashes :one REMOVE lease_until"
            ),
            ConditionExpression="#state = :running AND #token = :token",
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={k: dynamodb_value(v) for k, v in values.items()},
            ReturnValues="ALL_NEW",
        )
        if isinstance(old, _New):
            return Entry.from_item(old.item)
        raise ClaimLost

    # -- plumbing ------------------------------------------------------------------

    def _finish(
        self, job_id: str, token: str, sets: list[str], values: dict[str, Any], *, remove: str
    ) -> None:
        done = self._update(
            job_id,
            f"SET {', '.join(sets)} REMOVE {remove.replace('due', '#due')}",
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
        reserved = {
            f"#{name}": name
            for name in ("state", "token", "due", "cause", "error", "reason", "result")
            if f"#{name}" in update or f"#{name}" in condition
        }
        old = self._conditional(
            "update_item",
            Key={"id": {"S": job_id}},
            UpdateExpression=update,
            ConditionExpression=condition,
            ExpressionAttributeNames=reserved,
            ExpressionAttributeValues={k: dynamodb_value(v) for k, v in values.items()},
        )
        return old is None or isinstance(old, _New)

    def _conditional(self, operation: str, **arguments: Any) -> Entry | _New | _Missing | None:
        """Run a conditional write.

        None or the new item where it was done; the old entry, or `_MISSING`,
        where the condition failed.
        """
        try:
            answer = self._call(
                operation,
                TableName=self._table,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **arguments,
            )
        except _ConditionFailed as failed:
            return Entry.from_item(failed.item) if failed.item else _MISSING
        attributes = answer.get("Attributes")
        return _New(attributes) if attributes and operation == "update_item" else None

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**arguments)
        except ClientError as error:
            code = error_code(error)
            if code == "ConditionalCheckFailedException":
                raise _ConditionFailed(error.response.get("Item")) from None
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code in _TRANSIENT or status >= 500:
                raise LedgerUnreachable(
                    f"DynamoDB does not serve the ledger now ({code}); try again later."
                ) from error
            raise LedgerDenied(
                f"DynamoDB refused {operation} on {self._table} ({code}); check the table's name "
                "and the role's permissions."
            ) from error
        except BotoCoreError as error:
            raise LedgerUnreachable(
                f"DynamoDB cannot be reached ({type(error).__name__}); try again later."
            ) from error
        return answer


class _ConditionFailed(Exception):
    def __init__(self, item: dict[str, Any] | None) -> None:
        self.item = item
        super().__init__("condition failed")


@dataclass(frozen=True)
class _New:
    item: dict[str, Any]


class _Missing:
    """The condition failed and no old item was returned."""


_MISSING = _Missing()
