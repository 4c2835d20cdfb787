"""Access to the table of letters: plain DynamoDB calls with errors that say what to do.

Items are found by `id` and `sort`; what is listed has `list` and `at`, the keys
of the one index:

| id | sort | what |
|---|---|---|
| job id, or `s-` and a hash (strays; `m-` before them) | `letter.<rest>` | a letter |
| the same | `body.<rest>` | its body and attributes |
| job id | `claim.<letter's id>` | that a stray bears this id |
| the same | `backstop.<generation>` | how often SQS's own redrive had it |
| `groups.<shard>` | fingerprint | a part of a group's counts |
| `replays`, `active` | replay id | a replay; a mark that it has work |
| `client-token.<digest>` | `-` | which replay a client's token made |

Called by the modules of this package only. It never decides anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sealwax.aws.backoff import jittered
from sealwax.aws.dynamodb import Table, TransactionCancelled, plain, typed
from sealwax.aws.shards import SHARDS, sharded
from sealwax.control.audit_log import TRIES, AuditLine
from sealwax.deadletters.errors import LettersDenied, LettersUnreachable

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

__all__ = [
    "BATCH_GET",
    "INDEX",
    "TRANSACTION",
    "LettersTable",
    "Rows",
    "key",
]

INDEX = "by-list"

#: Items in one BatchGetItem, and in one TransactWriteItems.
#: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html
BATCH_GET = 100
TRANSACTION = 100

#: Tries of a transaction that another one disturbed.
_TRIES = 8


@dataclass(frozen=True)
class Rows:
    """Items of one query, and where the next one begins (None: at the end)."""

    items: list[dict[str, Any]]
    after: dict[str, Any] | None


def key(item_id: str, sort: str) -> dict[str, Any]:
    """Return an item's key in DynamoDB's form."""
    return {"id": {"S": item_id}, "sort": {"S": sort}}


def claim_key(job: str, letter_id: str) -> dict[str, Any]:
    """Return the key of the item that says that a stray bears a job's id."""
    return key(job, f"claim.{letter_id}")


class LettersTable:
    """The table.

    Parameters
    ----------
    client
        A boto3 DynamoDB client with time-outs.
    sleep
        Waits between the tries of a disturbed transaction.
    shards
        Keys over which the letters of a list are spread in the index.
    shards_read
        Shards that are read: more than `shards` while letters of more are there.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        name: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        shards: int = SHARDS,
        shards_read: int | None = None,
    ) -> None:
        self.name = name
        self._shards = shards
        #: How many shards of a list there are to read.
        self.shards_read = max(shards, shards_read or 0)
        self._table = Table(client, name, LettersUnreachable, LettersDenied)
        self._sleep = sleep

    def get(self, item_id: str, sort: str) -> dict[str, Any] | None:
        """Return an item's plain values, read consistently, or None."""
        answer = self.call("get_item", Key=key(item_id, sort), ConsistentRead=True)
        item = answer.get("Item")
        return plain(item) if item else None

    def batch_get(self, keys: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return those items that exist, in the order of their keys."""
        return [item for item in self.batch_find(keys) if item is not None]

    def batch_find(self, keys: Sequence[dict[str, Any]]) -> list[dict[str, Any] | None]:
        """Return the item of each key, None where there is none."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for start in range(0, len(keys), BATCH_GET):
            rest: list[dict[str, Any]] = list(keys[start : start + BATCH_GET])
            while rest:
                answer = self._table.request(
                    "batch_get_item",
                    RequestItems={self.name: {"Keys": rest, "ConsistentRead": True}},
                )
                for item in answer["Responses"].get(self.name, []):
                    found[item["id"]["S"], item["sort"]["S"]] = plain(item)
                rest = answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])
                if rest:
                    self._sleep(0.05)
        return [found.get((each["id"]["S"], each["sort"]["S"])) for each in keys]

    def partition(self, item_id: str, *, prefix: str = "") -> Iterator[dict[str, Any]]:
        """Yield all items of one id, read consistently, by their sort keys."""
        after: dict[str, Any] | None = None
        while True:
            rows = self.rows(item_id, prefix=prefix, after=after)
            yield from rows.items
            after = rows.after
            if after is None:
                return

    def rows(
        self,
        item_id: str,
        *,
        prefix: str = "",
        after: dict[str, Any] | None = None,
        limit: int | None = None,
        newest: bool = False,
    ) -> Rows:
        """Return a page of one id's items, read consistently."""
        condition, values = "id = :id", {":id": item_id}
        if prefix:
            condition += " AND begins_with(#sort, :prefix)"
            values[":prefix"] = prefix
        return self._query(
            after,
            limit,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=typed(values),
            ConsistentRead=True,
            ScanIndexForward=not newest,
            **({"ExpressionAttributeNames": {"#sort": "sort"}} if prefix else {}),
        )

    def list_of(self, name: str, item_id: str) -> str:
        """Return the partition key under which an item of a list stands in the index."""
        return sharded(name, item_id, self._shards)

    def listed(
        self,
        name: str,
        *,
        since: float | None = None,
        until: float | None = None,
        after: dict[str, Any] | None = None,
        limit: int | None = None,
        newest: bool = False,
    ) -> Rows:
        """Return a page of the keys in a list's shard, by time; the index is a little late."""
        condition, names = "#list = :list", {"#list": "list"}
        values: dict[str, Any] = {":list": name}
        if since is not None or until is not None:
            names["#at"] = "at"
            condition += " AND #at " + (
                "<= :until" if since is None else ">= :since" if until is None
                else "BETWEEN :since AND :until"
            )  # fmt: skip
            values |= {":since": since, ":until": until}
        return self._query(
            after,
            limit,
            IndexName=INDEX,
            KeyConditionExpression=condition,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=typed(values),
            ScanIndexForward=not newest,
        )

    def put(self, values: dict[str, Any], *, new: bool = False) -> None:
        """Write a whole item; raises `ConditionFailed` where it must not exist and does."""
        condition = {"ConditionExpression": "attribute_not_exists(id)"} if new else {}
        self.call("put_item", Item=typed(values), **condition)

    def update(self, operation: dict[str, Any]) -> dict[str, Any]:
        """Do an `Update` as a transaction would have it; return the item after it.

        Raises
        ------
        ConditionFailed
        """
        answer = self.call("update_item", **operation["Update"], ReturnValues="ALL_NEW")
        return plain(answer["Attributes"])

    def delete(self, item_id: str, sort: str) -> None:
        """Delete an item; nothing happens where there is none."""
        self.call("delete_item", Key=key(item_id, sort))

    def transact(
        self, operations: Sequence[dict[str, Any]], *, line: AuditLine | None = None
    ) -> None:
        """Do all operations or none.

        Parameters
        ----------
        operations
            Up to 100 of `Put`, `Update`, `Delete`, without the table's name.
        line
            Makes the audit log's part, two operations more; anew for each try,
            because others append lines too.

        Raises
        ------
        TransactionCancelled
            Where conditions did not hold.
        """
        items = [
            {kind: {"TableName": self.name, **fields} for kind, fields in operation.items()}
            for operation in operations
        ]
        for attempt in range(_TRIES if line is None else TRIES):
            try:
                self._table.request(
                    "transact_write_items",
                    TransactItems=items if line is None else [*items, *line()],
                )
            except TransactionCancelled as cancelled:
                own = TransactionCancelled(cancelled.codes[: len(items)])
                if own.failed:
                    raise own from None
                if cancelled.refused:
                    raise LettersDenied from cancelled
            else:
                return
            # Somebody else's transaction touched the same item, or DynamoDB throttles.
            self._sleep(jittered(attempt, base=0.03, cap=5.0))
        raise LettersUnreachable(
            "Other writers keep disturbing the archive: nothing was done; try again later."
        )

    def _query(self, after: dict[str, Any] | None, limit: int | None, **arguments: Any) -> Rows:
        if after is not None:
            arguments["ExclusiveStartKey"] = typed(after)
        if limit is not None:
            arguments["Limit"] = limit
        answer = self.call("query", **arguments)
        last = answer.get("LastEvaluatedKey")
        return Rows(
            [plain(item) for item in answer.get("Items", [])], plain(last) if last else None
        )

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Do one call on this table.

        Raises
        ------
        ConditionFailed, LettersUnreachable, LettersDenied
        """
        return self._table.call(operation, **arguments)
