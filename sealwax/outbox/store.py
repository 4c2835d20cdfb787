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
from typing import TYPE_CHECKING, Any, NamedTuple

from sealwax.aws.dynamodb import ConditionFailed, Table, plain, value_of
from sealwax.aws.errors import StoreDenied, StoreUnreachable
from sealwax.aws.shards import SHARDS
from sealwax.errors import SealwaxError

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

__all__ = [
    "MAX_BYTES",
    "ORDERED",
    "PAGE_BYTES",
    "DuePage",
    "Item",
    "Outbox",
    "OutboxDenied",
    "OutboxError",
    "OutboxUnreachable",
    "shard_of",
]

#: Largest body of an item: DynamoDB's 400 KiB for an item, less what is beside it.
#: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html
MAX_BYTES = 380_000

#: Shards of the index that ordered queues' groups are spread over, whatever the
#: settings say: a group whose shard changed would be sent from two at a time. SQS
#: takes 300 messages a second of one group, so that a shard holds three at their most.
ORDERED = 4

#: Most keys of one BatchGetItem that we ask for: so many of the largest fit into its 16 MB.
_GET = 40

#: Characters of bodies after which a page ends: as many pages as shards are in memory.
PAGE_BYTES = 4_000_000

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


class DuePage(NamedTuple):
    """Items that are due, and whether more of the index is to be read."""

    items: list[Item]
    more: bool


def shard_of(item: Item, shards: int) -> int:
    """Return the shard of the index where an item stands; pure.

    An ordered queue's groups keep their order, so that each is in one shard. A fair
    queue's have none to keep: one tenant's items are spread over all shards.
    """
    if item.group and item.queue.endswith(".fifo"):
        return zlib.crc32(item.group.encode()) % ORDERED
    return zlib.crc32(item.id.encode()) % shards


class Outbox:
    """Access to the table.

    Parameters
    ----------
    client
        A boto3 DynamoDB client with time-outs.
    table
        Name of the table.
    shards
        Keys over which the items are spread in the index `by-due`.
    shards_read
        Shards that are read: more than `shards` while items of more are there.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        *,
        shards: int = SHARDS,
        shards_read: int | None = None,
    ) -> None:
        self._table = Table(client, table, OutboxUnreachable, OutboxDenied)
        self._shards = shards
        #: How many shards there are to read, ordered queues' included.
        self.shards = max(shards, shards_read or 0, ORDERED)

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
        values["shard"] = str(shard_of(item, self._shards))
        self._table.call("put_item", Item={name: value_of(value) for name, value in values.items()})

    def get(self, item_id: str) -> Item | None:
        """Return an item, read consistently, or None."""
        found = self._table.call("get_item", Key={"id": {"S": item_id}}, ConsistentRead=True).get(
            "Item"
        )
        return _item(found) if found else None

    def due(self, now: float, limit: int) -> list[Item]:
        """Return items of all shards whose time has come, the longest due first.

        About `limit` at most, and less where bodies are large; see `due_of`.
        """
        share = max(1, limit // self.shards)
        pages = [self.due_of(shard, now, share) for shard in range(self.shards)]
        return sorted((item for page in pages for item in page.items), key=lambda item: item.due)

    def due_of(self, shard: int, now: float, limit: int) -> DuePage:
        """Return up to `limit` items of one shard whose time has come, the longest due first.

        From an index, so what was written in the last second may be missing, and
        what was just deleted leaves a gap: `more` goes by what the index answered.
        """
        page = self._table.call(
            "query",
            IndexName="by-due",
            KeyConditionExpression="#shard = :shard AND due <= :now",
            ExpressionAttributeNames={"#shard": "shard"},
            ExpressionAttributeValues={":shard": {"S": str(shard)}, ":now": value_of(now)},
            Limit=limit,
        )
        ids = [found["id"]["S"] for found in page.get("Items", [])]
        items: list[Item] = []
        at = 0
        while at < len(ids) and sum(len(item.body) for item in items) < PAGE_BYTES:
            items += self._read(ids[at : at + _GET])
            at += _GET
        more = at < len(ids) or bool(page.get("LastEvaluatedKey"))
        return DuePage(sorted(items, key=lambda item: item.due), more)

    def names(self) -> Iterator[tuple[str, float]]:
        """Yield id and due time of all items, from the index; bodies are not read."""
        for shard in range(self.shards):
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
        keys: list[Any] = [{"id": {"S": each}} for each in ids]
        items: list[Item] = []
        while keys:
            answer = self._table.request(
                "batch_get_item", RequestItems={name: {"Keys": keys, "ConsistentRead": True}}
            )
            items += map(_item, answer.get("Responses", {}).get(name, []))
            # What DynamoDB left out is asked for again: sent without it, the rest of
            # a group would overtake it.
            keys = answer.get("UnprocessedKeys", {}).get(name, {}).get("Keys", [])
        return items

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
