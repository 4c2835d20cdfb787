"""Access to the control table: items by kind and id, with errors that say what to do.

Called by everything in `sealwax.control` and by who keeps own kinds there. It
never decides: conditions come from the caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from sealwax.aws import dynamodb_value, error_code
from sealwax.errors import SealwaxError

__all__ = ["ConditionFailed", "ControlDenied", "ControlTable", "ControlUnreachable"]

#: AWS error codes of wrong requests and missing rights: no repeat mends them.
#: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
_LASTING = frozenset({"AccessDeniedException", "ResourceNotFoundException", "ValidationException"})


class ControlUnreachable(SealwaxError):
    """DynamoDB does not serve the control table now; try again later."""


class ControlDenied(SealwaxError):
    """DynamoDB refused the control table; check its name and the role's permissions."""


class ConditionFailed(SealwaxError):
    """Somebody else changed this item of the control table first; read it again."""


class ControlTable:
    """Items of the control table, as plain values.

    Parameters
    ----------
    client
        A boto3 DynamoDB client with time-outs.
    table
        Name of the table.
    """

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def get(self, kind: str, item_id: str) -> dict[str, Any] | None:
        """Return an item, read consistently, or None.

        Raises
        ------
        ControlUnreachable, ControlDenied
        """
        item = self._call("get_item", Key=_key(kind, item_id), ConsistentRead=True).get("Item")
        return _plain(item) if item else None

    def all(self, kind: str) -> Iterator[dict[str, Any]]:
        """Yield all items of a kind, read consistently."""
        start: dict[str, Any] = {}
        while True:
            page = self._call(
                "query",
                ConsistentRead=True,
                KeyConditionExpression="kind = :kind",
                ExpressionAttributeValues={":kind": {"S": kind}},
                **start,
            )
            yield from map(_plain, page.get("Items", []))
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
        item = {name: dynamodb_value(value) for name, value in values.items()}
        condition = {"ConditionExpression": "attribute_not_exists(id)"} if new else {}
        self._call("put_item", Item=item | _key(kind, item_id), **condition)

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
        answer = self._call(
            "update_item",
            Key=_key(kind, item_id),
            UpdateExpression=update,
            ConditionExpression=condition,
            ExpressionAttributeValues={k: dynamodb_value(v) for k, v in values.items()},
            ReturnValues="ALL_NEW",
            **({"ExpressionAttributeNames": names} if names else {}),
        )
        return _plain(answer["Attributes"])

    def delete(self, kind: str, item_id: str) -> None:
        """Delete an item; nothing happens where there is none."""
        self._call("delete_item", Key=_key(kind, item_id))

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(
                TableName=self._table, **arguments
            )
        except ClientError as error:
            code = error_code(error)
            if code == "ConditionalCheckFailedException":
                raise ConditionFailed from None
            if code in _LASTING:
                raise ControlDenied(
                    f"DynamoDB refused {operation} on {self._table} ({code}); check the table's "
                    "name and the role's permissions."
                ) from error
            raise ControlUnreachable(
                f"DynamoDB does not serve {self._table} now ({code}); try again later."
            ) from error
        except BotoCoreError as error:
            raise ControlUnreachable(
                f"DynamoDB cannot be reached ({type(error).__name__}); try again later."
            ) from error
        return answer


def _key(kind: str, item_id: str) -> dict[str, Any]:
    return {"kind": {"S": kind}, "id": {"S": item_id}}


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(typed) for name, typed in item.items()}


def _value(typed: dict[str, Any]) -> Any:
    kind, value = next(iter(typed.items()))
    if kind == "N":
        number = float(value)
        return int(number) if number.is_integer() else number
    if kind == "L":
        return [_value(each) for each in value]
    if kind == "M":
        return _plain(value)
    return None if kind == "NULL" else value
