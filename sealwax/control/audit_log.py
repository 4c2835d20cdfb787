"""The audit log: who changed what, when, and why. Append-only.

Every operation that changes something for others records itself here, once it
is decided. Nothing here updates or deletes, and no role may: records leave by
their expiry alone.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sealwax.aws.dynamodb import CursorInvalid, Table, plain, typed
from sealwax.aws.errors import StoreDenied, StoreUnreachable

__all__ = ["Audit", "AuditDenied", "AuditRecord", "AuditUnreachable"]

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
    """

    id: str
    at: float
    actor: str
    verb: str
    target: str
    count: int | None = None
    reason: str | None = None


class Audit:
    """The log.

    Parameters
    ----------
    client
        A boto3 DynamoDB client with time-outs.
    keep
        Seconds that a record is kept.
    """

    def __init__(
        self,
        client: Any,
        table: str,
        *,
        keep: float = KEEP,
        clock: Callable[[], float] = time.time,
    ) -> None:
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
        made, put = self._made(actor=actor, verb=verb, target=target, count=count, reason=reason)
        self._table.call("put_item", **put)
        return made

    def operation(
        self,
        *,
        actor: str,
        verb: str,
        target: str | dict[str, Any],
        count: int | None = None,
        reason: str | None = None,
    ) -> dict[str, Any]:
        """Return the line as an operation of a transaction: appended with the change, or not."""
        _, put = self._made(actor=actor, verb=verb, target=target, count=count, reason=reason)
        return {"Put": {"TableName": self._table.name, **put}}

    def _made(
        self,
        *,
        actor: str,
        verb: str,
        target: str | dict[str, Any],
        count: int | None,
        reason: str | None,
    ) -> tuple[AuditRecord, dict[str, Any]]:
        now = self._clock()
        text = target if isinstance(target, str) else json.dumps(target, separators=(",", ":"))
        record = AuditRecord(
            id=f"{round(now * 1000):013d}-{secrets.token_hex(6)}",
            at=round(now, 3),
            actor=actor[:TEXT_MAX],
            verb=verb[:TEXT_MAX],
            target=text[:TEXT_MAX],
            count=count,
            reason=reason[:TEXT_MAX] if reason else None,
        )
        values = {**vars(record), "day": _day(now), "expires": int(now + self._keep)}
        return record, {
            "Item": typed(values),
            "ConditionExpression": "attribute_not_exists(id)",
        }

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
        day, last = _cursor(after) if after else (_day(self._clock()), None)
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
        while day <= last:
            after: dict[str, Any] | None = None
            while True:
                answer = self._query(day, forward=True, after=after)
                for item in answer.get("Items", []):
                    record = _record(plain(item))
                    if since <= record.at <= until:
                        yield record
                after = answer.get("LastEvaluatedKey")
                if not after:
                    break
            day = _after(day)

    def _rows(self, day: str, before: str | None, limit: int) -> list[AuditRecord]:
        after = typed({"day": day, "id": before}) if before else None
        answer = self._query(day, forward=False, after=after, limit=limit)
        return [_record(plain(item)) for item in answer.get("Items", [])]

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
