"""Access to the control table: items by kind and id, with errors that say what to do.

Called by everything in `sealwax.control` and by who keeps own kinds there. It
never decides: conditions come from the caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sealwax.aws.dynamodb import ConditionFailed, Table, plain, value_of
from sealwax.aws.errors import StoreDenied, StoreUnreachable

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

__all__ = ["ConditionFailed", "ControlDenied", "ControlTable", "ControlUnreachable"]


class ControlUnreachable(StoreUnreachable):
    """DynamoDB does not serve the control table now; try again later."""


class ControlDenied(StoreDenied):
    """DynamoDB refused the control table; check its name and the role's permissions."""


class ControlTable:
    """Items of the control table, as plain values.

    Parameters
    ----------
    client
        A boto3 DynamoDB client with time-outs.
    table
        Name of the table.
    """

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._table = Table(client, table, ControlUnreachable, ControlDenied)

    def get(self, kind: str, item_id: str) -> dict[str, Any] | None:
        """Return an item, read consistently, or None.

        Raises
        ------
        ControlUnreachable, ControlDenied
        """
        item = self._table.call("get_item", Key=_key(kind, item_id), ConsistentRead=True).get(
            "Item"
        )
        return plain(item) if item else None

    def all(self, kind: str) -> Iterator[dict[str, Any]]:
        """Yield all items of a kind, read consistently."""
        start: dict[str, Any] = {}
        while True:
            page = self._table.call(
                "query",
                ConsistentRead=True,
                KeyConditionExpression="kind = :kind",
                ExpressionAttributeValues={":kind": {"S": kind}},
                **start,
            )
            yield from map(plain, page.get("Items", []))
            if not page.get("LastEvaluatedKey"):
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def put(self, kind: str, item_id: str, values: dict[str, Any], *, new: bool = False) -> None:
        """Write a whole item.

        Parameters
        ----------
        new
            Whether it must not exist yet.

        Raises
        ------
        ConditionFailed
            Where it exists and must not.
        """
        item = {name: value_of(value) for name, value in values.items()}
        condition = {"ConditionExpression": "attribute_not_exists(id)"} if new else {}
        self._table.call("put_item", Item=item | _key(kind, item_id), **condition)

    def update(
        self, kind: str, item_id: str, update: str, condition: str, values: dict[str, Any]
    ) -> dict[str, Any]:
        """Change an item where a condition holds; return it after the change.

        `#name` stands for the attribute `name` in both expressions.

        Raises
        ------
        ConditionFailed
        """
        words = {word.strip("(),=<>") for word in f"{update} {condition}".split()}
        names = {word: word[1:] for word in words if word.startswith("#")}
        answer = self._table.call(
            "update_item",
            Key=_key(kind, item_id),
            UpdateExpression=update,
            ConditionExpression=condition,
            ExpressionAttributeValues={k: value_of(v) for k, v in values.items()},
            ReturnValues="ALL_NEW",
            **({"ExpressionAttributeNames": names} if names else {}),
        )
        return plain(answer["Attributes"])

    def delete(self, kind: str, item_id: str) -> None:
        """Delete an item; nothing happens where there is none."""
        self._table.call("delete_item", Key=_key(kind, item_id))


def _key(kind: str, item_id: str) -> dict[str, Any]:
    return {"kind": {"S": kind}, "id": {"S": item_id}}
