"""The outbox: whole messages, sealed inside, that are sent when they are due.

The API writes what SQS did not take and what is to start later, workers write
what waits too long for its queue; the steward reads, sends and deletes. An
item may be sent twice, and the ledger absorbs that; it is never deleted before
SQS has it.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sealwax.aws.dynamodb import ConditionFailed, Table, plain, value_of
from sealwax.aws.errors import StoreDenied, StoreUnreachable
from sealwax.errors import SealwaxError

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

__all__ = [
    "MAX_BYTES",
    "SHARDS",
    "Item",
    "Outbox",
    "OutboxDenied",
    "OutboxError",
    "OutboxUnreachable",
]

#: Largest body of an item: DynamoDB's 400 KiB for an item, less what is beside it.
#: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html
MAX_BYTES = 380_000

#: Parts of the index: one partition takes 1,000 writes a second.
SHARDS = 4

#: Most keys of one BatchGetItem that we ask for: ten of the largest fit into its 16 MB.
_GET = 10

#: Most requests of one BatchWriteItem.
_WRITE = 25


class OutboxError(SealwaxError):
    """The outbox could not do this; see the chained cause."""


class OutboxUnreachable(OutboxError, StoreUnreachable):
    """DynamoDB does not serve the outbox now; try again later."""


class OutboxDenied(OutboxError, StoreDenied):
    """DynamoDB refused the outbox; check its table and the role's permissions."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A message that waits.

    Parameters
    ----------
    id
        `<job id>#…` for a job of ours, else any name of its own.
    due
        Epoch seconds from which it is to be sent.
    queue
        SQS's name of the queue.
    body
        The whole SQS body.
    attributes
        SQS message attributes.
    group, deduplication
        For FIFO and fair queues.
    tries
        How often SQS has refused this very message.
    """

    id: str
    due: float
    queue: str
    body: str = field(repr=False)
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)
    group: str | None = None
    deduplication: str | None = None
    job: str | None = None
    task: str | None = None
    lane: str | None = None
    tries: int = 0

    @property
    def shard(self) -> str:
        """The part of the index: a group's items share one, so that they keep their order."""
        return str(zlib.crc32((self.group or self.id).encode()) % SHARDS)


class Outbox:
    """Access to the table.

    Parameters
    ----------
    client
        A boto3 DynamoDB client with time-outs.
    table
        Name of the table.
    """

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._table = Table(client, table, OutboxUnreachable, OutboxDenied)

    def put(self, item: Item) -> None:
        """Record a message; one of the same id is replaced.

        Raises
        ------
        OutboxUnreachable
        OutboxDenied
            Also for a body larger than `MAX_BYTES`.
        """
        if len(item.body.encode()) > MAX_BYTES:
            raise OutboxDenied(f"A body of more than {MAX_BYTES} bytes does not fit the outbox.")
        values = {name: value for name, value in vars(item).items() if value not in (None, {})}
        values["shard"] = item.shard
        self._table.call("put_item", Item={name: value_of(value) for name, value in values.items()})

    def get(self, item_id: str) -> Item | None:
        """Return an item, read consistently, or None."""
        found = self._table.call("get_item", Key={"id": {"S": item_id}}, ConsistentRead=True).get(
            "Item"
        )
        return _item(found) if found else None

    def due(self, now: float, limit: int) -> list[Item]:
        """Return items whose time has come, the longest due first; about `limit` at most.

        From an index, so what was written in the last second may be missing.
        """
        keys: list[tuple[float, str]] = []
        for shard in range(SHARDS):
            page = self._table.call(
                "query",
                IndexName="by-due",
                KeyConditionExpression="#shard = :shard AND due <= :now",
                ExpressionAttributeNames={"#shard": "shard"},
                ExpressionAttributeValues={
                    ":shard": {"S": str(shard)},
                    ":now": value_of(now),
                },
                Limit=max(1, limit // SHARDS),
            )
            keys += [(float(item["due"]["N"]), item["id"]["S"]) for item in page.get("Items", [])]
        keys.sort()
        items: list[Item] = []
        for start in range(0, len(keys), _GET):
            items += self._read([key for _, key in keys[start : start + _GET]])
        return sorted(items, key=lambda item: item.due)

    def names(self) -> Iterator[tuple[str, float]]:
        """Yield id and due time of all items, from the index; bodies are not read."""
        for shard in range(SHARDS):
            start: dict[str, Any] = {}
            while True:
                page = self._table.call(
                    "query",
                    IndexName="by-due",
                    KeyConditionExpression="#shard = :shard",
                    ExpressionAttributeNames={"#shard": "shard"},
                    ExpressionAttributeValues={":shard": {"S": str(shard)}},
                    **start,
                )
                for item in page.get("Items", []):
                    yield item["id"]["S"], float(item["due"]["N"])
                if not page.get("LastEvaluatedKey"):
                    break
                start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _read(self, ids: Sequence[str]) -> list[Item]:
        name = self._table.name
        # What is not processed, or is gone since, the next turn decides about.
        answer = self._table.request(
            "batch_get_item",
            RequestItems={
                name: {"Keys": [{"id": {"S": each}} for each in ids], "ConsistentRead": True}
            },
        )
        return [_item(found) for found in answer.get("Responses", {}).get(name, [])]

    def delete(self, *ids: str) -> None:
        """Delete items; what is not there is passed over."""
        name = self._table.name
        for start in range(0, len(ids), _WRITE):
            requests = [
                {"DeleteRequest": {"Key": {"id": {"S": each}}}}
                for each in ids[start : start + _WRITE]
            ]
            answer = self._table.request("batch_write_item", RequestItems={name: requests})
            for left in answer.get("UnprocessedItems", {}).get(name, []):
                self._table.call("delete_item", Key=left["DeleteRequest"]["Key"])

    def release(self, item: Item, *, due: float) -> Item:
        """Put a refused item off; it counts one try more. Nothing happens where it is gone."""
        later = replace(item, due=due, tries=item.tries + 1)
        with contextlib.suppress(ConditionFailed):
            self._table.call(
                "update_item",
                Key={"id": {"S": item.id}},
                UpdateExpression="SET due = :due, tries = :tries",
                ConditionExpression="attribute_exists(id)",
                ExpressionAttributeValues={
                    ":due": value_of(due),
                    ":tries": value_of(later.tries),
                },
            )
        return later


def _item(found: dict[str, Any]) -> Item:
    known = Item.__dataclass_fields__
    return Item(**{name: value for name, value in plain(found).items() if name in known})
