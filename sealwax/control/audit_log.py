"""The audit log: who changed what, when, and why. Append-only.

Every operation that changes something for others records itself here, once it
is decided. Nothing here updates or deletes, and no role may: records leave by
their expiry alone. A role that may write could still write over a line; each
line therefore holds the hash of the one before, and one item, the head, that
of the newest. A line is written together with the head that it moves on, or
not at all; of two writers one tries again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sealwax.aws.backoff import jittered
from sealwax.aws.clock import AWS_CLOCK
from sealwax.aws.dynamodb import CursorInvalid, Table, TransactionCancelled, plain, typed
from sealwax.aws.errors import StoreDenied, StoreUnreachable
from sealwax.control.audit_chain import ChainHead, ChainReport, line_hash, verify_chain

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

__all__ = ["HEAD", "Audit", "AuditDenied", "AuditLine", "AuditRecord", "AuditUnreachable"]

#: The head's key: its partition holds no lines, so that a role may be let read it alone.
HEAD = {"day": {"S": "head"}, "id": {"S": "head"}}

#: Tries to append a line while other writers append theirs.
TRIES = 12

#: What a transaction appends to its own operations: made anew for each try.
AuditLine = Callable[[], list[dict[str, Any]]]

#: Seconds that a record is kept unless the settings say otherwise.
KEEP = 400 * 86_400

#: Longest text of any field, in characters.
TEXT_MAX = 1_000


class AuditUnreachable(StoreUnreachable):
    """DynamoDB does not serve the audit log now; try again later."""


class AuditDenied(StoreDenied):
    """DynamoDB refused the audit log; check its table and the role's permissions."""


@dataclass(frozen=True, kw_only=True)
class AuditRecord:
    """One line of the log.

    Parameters
    ----------
    at
        Epoch seconds.
    target
        What it was done to: an id, or a selection as JSON.
    count
        How many things it touched, where that is known.
    number
        Its place in the chain, from 1; None for a line from before the chain began.
    before
        Hash of the line before it.
    """

    id: str
    at: float
    actor: str
    verb: str
    target: str
    count: int | None = None
    reason: str | None = None
    number: int | None = None
    before: str | None = None


class Audit:
    """The log.

    Parameters
    ----------
    client
        A boto3 DynamoDB client with time-outs.
    keep
        Seconds that a record is kept.
    sleep
        Waits between the tries to append a line, in seconds.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        *,
        keep: float = KEEP,
        clock: Callable[[], float] = AWS_CLOCK,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._sleep = sleep
        self._table = Table(client, table, AuditUnreachable, AuditDenied)
        self._keep = keep
        self._clock = clock

    def record(
        self,
        *,
        actor: str,
        verb: str,
        target: str | dict[str, Any],
        count: int | None = None,
        reason: str | None = None,
    ) -> AuditRecord:
        """Append a line.

        Parameters
        ----------
        actor
            Who: `token:<id>`, `steward`, or `cli:<user>@<host>`.
        verb
            What, as `<thing>.<verb>`: `replay.start`, `lane.pause`, `letter.reveal`.
        target
            To what; a selection is kept as JSON. Never a payload.

        Raises
        ------
        AuditUnreachable, AuditDenied
        """
        for attempt in range(TRIES):
            made, operations = self._made(
                actor=actor, verb=verb, target=target, count=count, reason=reason
            )
            try:
                self._table.request("transact_write_items", TransactItems=operations)
            except TransactionCancelled as cancelled:
                if cancelled.refused:
                    raise AuditDenied from cancelled
            else:
                return made
            # Somebody else's line was first.
            self._sleep(jittered(attempt, base=0.03, cap=0.75))
        raise AuditUnreachable(
            "Other writers kept the audit log busy: no line was written, and nothing was done; "
            "try again."
        )

    def line(
        self,
        *,
        actor: str,
        verb: str,
        target: str | dict[str, Any],
        count: int | None = None,
        reason: str | None = None,
    ) -> AuditLine:
        """Return what makes a transaction's part of the log: appended with the change, or not.

        Each call reads the head and returns two operations; where only their
        conditions fail, another line was first, and the transaction is to be
        tried again with those of a new call.
        """

        def operations() -> list[dict[str, Any]]:
            return self._made(actor=actor, verb=verb, target=target, count=count, reason=reason)[1]

        return operations

    def head(self) -> ChainHead:
        """Return the newest line's number and hash, read consistently."""
        answer = self._table.call("get_item", Key=HEAD, ConsistentRead=True)
        item = plain(answer.get("Item", {}))
        try:
            return ChainHead(
                count=int(item.get("count", 0)),
                hash=str(item.get("hash", ChainHead.hash)),
                at=int(item.get("at", 0)),
                expires=int(item.get("line_expires", 0)),
            )
        except (TypeError, ValueError, OverflowError):
            raise AuditDenied(
                "The audit log's head is not of its form: it was overwritten; restore it."
            ) from None

    def verify(
        self, *, since: float | None = None, kept: tuple[int, str] | None = None
    ) -> ChainReport:
        """Read the chain, and say which line was changed, removed, inserted or moved first.

        Parameters
        ----------
        since
            Epoch seconds; reading begins with the day of this moment. Without, with
            the oldest line that is kept.
        kept
            Number and hash of a line, noted elsewhere at an earlier time.
        """
        now = self._clock()
        oldest = now - self._keep
        heads: list[ChainHead] = []
        items = self._growing(_day(oldest if since is None else max(since, oldest)), heads)
        return verify_chain(
            (item for item in items if not _expired(item, now)),
            lambda: heads[-1] if heads else self.head(),
            now=now,
            whole=since is None,
            kept=kept,
        )

    def _growing(self, day: str, heads: list[ChainHead]) -> Iterator[dict[str, Any]]:
        """Yield all lines from a day on, and at the end a head that is not newer than they."""
        after: dict[str, Any] | None = None
        number = 0
        for _ in range(TRIES):
            new = False
            for item in self._items(day, self._newest_day(self.head()), after):
                new = True
                day, after = item["day"], {"day": item["day"], "id": item["id"]}
                number = item["number"] if isinstance(item.get("number"), int) else number
                yield item
            heads.append(self.head())
            # Lines that were appended meanwhile belong to this head: read them too.
            if heads[-1].count <= number or not new:
                return

    def _made(
        self,
        *,
        actor: str,
        verb: str,
        target: str | dict[str, Any],
        count: int | None,
        reason: str | None,
    ) -> tuple[AuditRecord, list[dict[str, Any]]]:
        now = self._clock()
        head = self.head()
        # Writers' clocks differ a little: ids go by the chain, so that both orders are one.
        at = max(round(now * 1000), head.at)
        number = head.count + 1
        text = target if isinstance(target, str) else json.dumps(target, separators=(",", ":"))
        record = AuditRecord(
            id=f"{at:013d}-{number:012d}",
            at=round(now, 3),
            actor=actor[:TEXT_MAX],
            verb=verb[:TEXT_MAX],
            target=text[:TEXT_MAX],
            count=count,
            reason=reason[:TEXT_MAX] if reason else None,
            number=number,
            before=head.hash,
        )
        values = {
            **vars(record),
            "day": _day(at / 1000),
            "expires": int(now + self._keep),
            "before_expires": head.expires,
        }
        moved = {
            "day": "head",
            "id": "head",
            "count": number,
            "hash": line_hash(values),
            "at": at,
            "line_expires": values["expires"],
        }
        unmoved: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(id)"}
        if head.count:
            unmoved = {
                "ConditionExpression": "#hash = :hash",
                "ExpressionAttributeNames": {"#hash": "hash"},
                "ExpressionAttributeValues": typed({":hash": head.hash}),
            }
        table = {"TableName": self._table.name}
        line = {"Item": typed(values), "ConditionExpression": "attribute_not_exists(id)"}
        return record, [{"Put": table | line}, {"Put": table | {"Item": typed(moved)} | unmoved}]

    def _newest_day(self, head: ChainHead) -> str:
        """Return the last day that has lines: a writer's clock may be ahead of ours."""
        return max(_day(self._clock()), _day(min(head.at / 1000, self._clock() + 30 * 86_400)))

    def page(
        self, *, limit: int = 50, after: str | None = None, days: int = 400
    ) -> tuple[list[AuditRecord], str | None]:
        """Return the newest lines, and the cursor of the next page.

        Empty days are passed over, at most 31 in one page: a page may be empty
        and still have a next one.

        Raises
        ------
        CursorInvalid
        """
        day, last = _cursor(after) if after else (self._newest_day(self.head()), None)
        oldest = _day(self._clock() - days * 86_400)
        found: list[AuditRecord] = []
        for _ in range(31):
            rows = self._rows(day, last, limit - len(found))
            found += rows
            if len(found) >= limit:
                return found, f"{day}/{found[-1].id}"
            day, last = _before(day), None
            if day < oldest:
                return found, None
        return found, f"{day}/"

    def export(self, *, since: float, until: float) -> Iterator[AuditRecord]:
        """Yield all lines between two epoch seconds that are still kept, oldest first."""
        now = self._clock()
        # A query for each day: none for those of which nothing can be left.
        day, last = _day(max(since, now - self._keep)), _day(min(until, now + 86_400))
        for item in self._items(day, last):
            record = _record(item)
            if since <= record.at <= until:
                yield record

    def _items(
        self, day: str, last: str, beyond: dict[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield all lines of a span of days as plain values, a page at a time."""
        after = typed(beyond) if beyond else None
        while day <= last:
            while True:
                answer = self._query(day, forward=True, after=after)
                yield from map(plain, answer.get("Items", []))
                after = answer.get("LastEvaluatedKey")
                if not after:
                    break
            day = _after(day)

    def _rows(self, day: str, before: str | None, limit: int) -> list[AuditRecord]:
        """Return a day's newest lines, `limit` of them where there are so many."""
        after = typed({"day": day, "id": before}) if before else None
        found: list[AuditRecord] = []
        # A page ends at 1 MB too: what comes after it is not the day before's.
        while len(found) < limit:
            answer = self._query(day, forward=False, after=after, limit=limit - len(found))
            found += [_record(plain(item)) for item in answer.get("Items", [])]
            after = answer.get("LastEvaluatedKey")
            if after is None:
                break
        return found

    def _query(
        self,
        day: str,
        *,
        forward: bool,
        after: dict[str, Any] | None = None,
        limit: int | None = None,
    ) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "KeyConditionExpression": "#day = :day",
            "ExpressionAttributeNames": {"#day": "day"},
            "ExpressionAttributeValues": typed({":day": day}),
            "ConsistentRead": True,
            "ScanIndexForward": forward,
        }
        if after:
            arguments["ExclusiveStartKey"] = after
        if limit:
            arguments["Limit"] = limit
        return self._table.call("query", **arguments)


def _record(item: dict[str, Any]) -> AuditRecord:
    known = AuditRecord.__dataclass_fields__
    return AuditRecord(**{name: value for name, value in item.items() if name in known})


def _expired(item: dict[str, Any], now: float) -> bool:
    expires = item.get("expires")
    return isinstance(expires, int | float) and expires <= now


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def _moved(day: str, days: int) -> str:
    moment = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    return (moment + timedelta(days=days)).strftime("%Y-%m-%d")


def _before(day: str) -> str:
    return _moved(day, -1)


def _after(day: str) -> str:
    return _moved(day, 1)


def _cursor(text: str) -> tuple[str, str | None]:
    day, _, last = text.partition("/")
    try:
        _moved(day, 0)
    except ValueError:
        raise CursorInvalid from None
    return day, last[:64] or None
