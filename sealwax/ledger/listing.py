"""Reading many entries: by index, in pages. Called by `Ledger`; never writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sealwax.aws.dynamodb import value_of
from sealwax.envelope.errors import EnvelopeError
from sealwax.envelope.format import split
from sealwax.ledger.entry import FINAL, JobState, LedgerEntry
from sealwax.ledger.table import LedgerTable

__all__ = ["JobPage", "KeyUsage", "batch", "needing", "query"]

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
    after: str | None,
    limit: int,
    newest_first: bool = False,
) -> JobPage:
    """Return a page of an index (`key` S, `created` N), in the order of creation.

    Entries are read consistently after the index was asked; one that has left
    the index meanwhile is left out, so a page may be short.
    """
    limit = max(1, min(limit, _BATCH))
    start: dict[str, Any] = {}
    if after is not None:
        created, _, job_id = after.partition("/")
        start["ExclusiveStartKey"] = {
            "id": {"S": job_id},
            "created": {"N": created},
            key: {"S": value},
        }
    found = table.call(
        "query",
        IndexName=index,
        KeyConditionExpression="#key = :value",
        ExpressionAttributeNames={"#key": key},
        ExpressionAttributeValues={":value": value_of(value)},
        ScanIndexForward=not newest_first,
        Limit=limit,
        **start,
    )
    ids = [item["id"]["S"] for item in found.get("Items", [])]
    last = found.get("LastEvaluatedKey")
    entries = batch(table, ids)
    return JobPage(
        entries=tuple(
            entries[job_id]
            for job_id in ids
            if job_id in entries and getattr(entries[job_id], key) == value
        ),
        after=f"{last['created']['N']}/{last['id']['S']}" if last else None,
    )


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
