"""Reading many entries: by index, in pages. Called by `Ledger`; never writes."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sealwax.aws.dynamodb import value_of
from sealwax.aws.shards import SHARDS_MAX, shard_keys
from sealwax.envelope.errors import EnvelopeError
from sealwax.envelope.format import split
from sealwax.ledger.entry import FINAL, JobState, LedgerEntry
from sealwax.ledger.table import LedgerTable

__all__ = ["JobPage", "KeyUsage", "batch", "is_cursor", "keys", "needing", "query"]

#: Keys that one BatchGetItem may name.
#: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
_BATCH = 100


@dataclass(frozen=True)
class JobPage:
    """Some entries, and what to pass as `after` for the next ones; None: there are no more."""

    entries: tuple[LedgerEntry, ...]
    after: str | None


@dataclass(frozen=True)
class KeyUsage:
    """How many jobs need a key: open ones, dead ones, and results."""

    open: int
    dead: int
    results: int


def query(
    table: LedgerTable,
    index: str,
    *,
    key: str,
    value: str,
    shards: int,
    after: str | None,
    limit: int,
    newest_first: bool = False,
    until: float | None = None,
) -> JobPage:
    """Return a page of an index (`key` S, `created` N), in the order of creation.

    Costs a query for each shard, seldom one more, and a read of the entries. They
    are read consistently after the index was asked; one that has left the index
    meanwhile is left out, so a page may be short. `after` says how far each shard
    was read. What was created after `until` (epoch seconds) is not read at all.
    """
    limit = max(1, min(limit, _BATCH))
    places = after.split(",") if after else []
    parts = [
        _Shard(
            table,
            index,
            {key: value_of(name)},
            places[number] if number < len(places) else "",
            # Each has its part of a page, more or less.
            take=min(limit, max(2, 2 * limit // shards)),
            newest_first=newest_first,
            until=until,
        )
        for number, name in enumerate(shard_keys(value, shards))
    ]
    ids: list[str] = []
    while len(ids) < limit:
        waiting = [part for part in parts if part.first() is not None]
        if not waiting:
            break
        chosen = max if newest_first else min
        ids.append(chosen(waiting, key=lambda part: part.first() or _END).pop())
    entries = batch(table, ids)
    reached = [part.place for part in parts]
    return JobPage(
        entries=tuple(
            entries[job_id]
            for job_id in ids
            if job_id in entries and getattr(entries[job_id], key) == value
        ),
        after=None if set(reached) == {_ENDED} else ",".join(reached),
    )


#: How far a shard was read: to a job, to its end, or not yet at all.
_PLACE = r"(?:[0-9]{1,20}(?:\.[0-9]{1,20})?/[0-9a-f]{32}|-)?"
_CURSOR = re.compile(rf"{_PLACE}(?:,{_PLACE}){{0,{SHARDS_MAX - 1}}}")
_ENDED = "-"
_END = (0.0, "")


def is_cursor(text: str) -> bool:
    """Whether a text can be a page's `after`; anything else must not reach DynamoDB."""
    return _CURSOR.fullmatch(text) is not None


class _Shard:
    """One partition key of an index, read forward from a place in it."""

    def __init__(
        self,
        table: LedgerTable,
        index: str,
        partition: dict[str, Any],
        place: str,
        *,
        take: int,
        newest_first: bool,
        until: float | None,
    ) -> None:
        self._until = until
        self._place = place
        self._table, self._index, self._partition = table, index, partition
        self._take, self._forward = take, not newest_first
        self._read: deque[tuple[str, str]] = deque()
        self._start: dict[str, Any] | None = None
        self._unread = place != _ENDED
        if place and self._unread:
            created, _, job_id = place.partition("/")
            self._start = {"id": {"S": job_id}, "created": {"N": created}, **partition}

    def first(self) -> tuple[float, str] | None:
        """Return when the next job was created, and its id; None at the end."""
        while not self._read and self._unread:
            self._query()
        if not self._read:
            return None
        created, job_id = self._read[0]
        return float(created), job_id

    def pop(self) -> str:
        """Go on by one job, and return its id."""
        created, job_id = self._read.popleft()
        self._place = f"{created}/{job_id}"
        return job_id

    @property
    def place(self) -> str:
        """How far it was read."""
        return self._place if self._read or self._unread else _ENDED

    def _query(self) -> None:
        ((name, value),) = self._partition.items()
        condition, values = "#key = :value", {":value": value}
        if self._until is not None:
            condition += " AND created <= :until"
            values[":until"] = value_of(self._until)
        found = self._table.call(
            "query",
            IndexName=self._index,
            KeyConditionExpression=condition,
            ExpressionAttributeNames={"#key": name},
            ExpressionAttributeValues=values,
            ScanIndexForward=self._forward,
            Limit=self._take,
            **({"ExclusiveStartKey": self._start} if self._start else {}),
        )
        self._read.extend(
            (item["created"]["N"], item["id"]["S"]) for item in found.get("Items", [])
        )
        self._start = found.get("LastEvaluatedKey")
        self._unread = bool(self._start)


def keys(
    table: LedgerTable, index: str, *, key: str, value: str, until: float
) -> Iterator[list[tuple[float, str]]]:
    """Yield when each job of one partition key was created, and its id, the oldest first.

    In pages of 1 MB, some 10,000 jobs for a call; entries are not read. What was
    created after `until` (epoch seconds) is left out.
    """
    start: dict[str, Any] = {}
    while True:
        page = table.call(
            "query",
            IndexName=index,
            KeyConditionExpression="#key = :value AND created <= :until",
            ExpressionAttributeNames={"#key": key},
            ExpressionAttributeValues={":value": {"S": value}, ":until": value_of(until)},
            **start,
        )
        yield [(float(item["created"]["N"]), item["id"]["S"]) for item in page.get("Items", [])]
        if not page.get("LastEvaluatedKey"):
            return
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def batch(table: LedgerTable, ids: list[str]) -> dict[str, LedgerEntry]:
    """Return the entries of up to 100 jobs by id, read consistently."""
    found: dict[str, LedgerEntry] = {}
    request: dict[str, Any] = {}
    if ids:
        keys = [{"id": {"S": job_id}} for job_id in dict.fromkeys(ids)]
        request = {table.name: {"Keys": keys, "ConsistentRead": True}}
    while request:
        # DynamoDB may leave some out (16 MB in one answer): they are asked for again.
        answer = table.request("batch_get_item", RequestItems=request)
        for item in answer.get("Responses", {}).get(table.name, []):
            entry = LedgerEntry.from_item(item)
            found[entry.id] = entry
        request = answer.get("UnprocessedKeys") or {}
    return found


def needing(table: LedgerTable, key_id: str) -> KeyUsage:
    """Count the jobs whose envelopes or results need a key; reads the whole table."""
    counts = {"open": 0, "dead": 0, "results": 0}
    start: dict[str, Any] = {}
    while True:
        page = table.call(
            "scan",
            ConsistentRead=True,
            ProjectionExpression="#state, recipient, signer, #result",
            ExpressionAttributeNames={"#state": "state", "#result": "result"},
            **start,
        )
        for item in page.get("Items", []):
            state = JobState(item["state"]["S"])
            sealed = key_id in (
                item.get("recipient", {}).get("S"),
                item.get("signer", {}).get("S"),
            )
            if sealed and state is JobState.DEAD:
                counts["dead"] += 1
            elif sealed and state not in FINAL:
                counts["open"] += 1
            if "result" in item and _needs(item["result"]["S"], key_id):
                counts["results"] += 1
        if not page.get("LastEvaluatedKey"):
            return KeyUsage(**counts)
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def _needs(result: str, key_id: str) -> bool:
    try:
        header = split(result).header
    except EnvelopeError:
        return False
    return key_id in (header.recipient, header.signer)
