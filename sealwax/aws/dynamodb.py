"""One call to a DynamoDB table, its errors turned into ones that say what to do.

Called by every store: ledger, control table, audit log, outbox, letters, tokens. It never
retries: the client's own attempts are bounded, and the caller knows what the
call is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from sealwax.aws.errors import error_code, is_denied
from sealwax.errors import SealwaxError

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

__all__ = [
    "ConditionFailed",
    "CursorInvalid",
    "Table",
    "TransactionCancelled",
    "plain",
    "typed",
    "value_of",
]


#: Reasons for a cancelled transaction that lie in the operation itself.
#: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
_WRONG_OPERATION = frozenset({"ItemCollectionSizeLimitExceeded", "ValidationError"})


class ConditionFailed(SealwaxError):
    """Somebody else changed this item first; read it again.

    Parameters
    ----------
    item
        What stands there, in DynamoDB's form, where the call asked for it.
    """

    def __init__(self, message: str | None = None, *, item: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.item = item


class TransactionCancelled(SealwaxError):
    """DynamoDB cancelled a transaction and wrote nothing; read its items again.

    Parameters
    ----------
    codes
        DynamoDB's reason for each operation, in their order; `None` for those
        that were not the cause.
    """

    def __init__(self, codes: Sequence[str | None]) -> None:
        super().__init__()
        self.codes = tuple(None if code == "None" else code for code in codes)

    @property
    def failed(self) -> list[int]:
        """Positions of the operations whose conditions did not hold."""
        return [n for n, code in enumerate(self.codes) if code == "ConditionalCheckFailed"]

    @property
    def refused(self) -> bool:
        """Whether an operation is wrong in itself, so that no repeat can succeed."""
        return not _WRONG_OPERATION.isdisjoint(self.codes)


class CursorInvalid(SealwaxError):
    """The cursor is none of ours; begin at the first page."""


@dataclass(frozen=True)
class Table:
    """A table, and which errors its store raises.

    Parameters
    ----------
    client
        A boto3 DynamoDB client with time-outs.
    name
        The table's.
    unreachable, denied
        Raised where a later call may succeed, and where none will.
    """

    client: DynamoDBClient
    name: str
    unreachable: type[SealwaxError]
    denied: type[SealwaxError]

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Make one call on the table.

        Raises
        ------
        ConditionFailed
        """
        return self.request(operation, TableName=self.name, **arguments)

    def request(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Make one call that names the table itself, such as a batch.

        Raises
        ------
        ConditionFailed, TransactionCancelled
        """
        try:
            answer: dict[str, Any] = getattr(self.client, operation)(**arguments)
        except ClientError as error:
            # botocore's own types leave out what only some operations answer.
            response = cast("dict[str, Any]", error.response)
            code = error_code(error)
            if code == "ConditionalCheckFailedException":
                raise ConditionFailed(item=response.get("Item")) from None
            if code == "TransactionCanceledException":
                reasons = response.get("CancellationReasons", [])
                raise TransactionCancelled([each.get("Code") for each in reasons]) from error
            raise self.explained(operation, error) from error
        except BotoCoreError as error:
            raise self.explained(operation, error) from error
        return answer

    def explained(self, operation: str, error: Exception) -> SealwaxError:
        """Return the store's own error for one of botocore's."""
        code = error_code(error)
        if isinstance(error, BotoCoreError):
            return self.unreachable(
                f"DynamoDB cannot be reached ({code}); try again later, or ask `sealwax check`."
            )
        if is_denied(error):
            return self.denied(
                f"DynamoDB refused {operation} on {self.name} ({code}); check the table's "
                "name and the role's permissions, or ask `sealwax check`."
            )
        return self.unreachable(
            f"DynamoDB does not serve {self.name} now ({code}); try again later, or ask "
            "`sealwax check`."
        )


def typed(values: dict[str, Any]) -> dict[str, Any]:
    """Return values in DynamoDB's form, those that are None left out."""
    return {name: value_of(value) for name, value in values.items() if value is not None}


def plain(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item of DynamoDB's typed form as plain values."""
    return {name: _value(typed) for name, typed in item.items()}


def _value(typed: dict[str, Any]) -> Any:
    kind, value = next(iter(typed.items()))
    if kind == "N":
        number = float(value)
        return int(number) if number.is_integer() else number
    if kind == "SS":
        return frozenset(value)
    if kind == "NS":
        return frozenset(int(each) for each in value)
    if kind == "L":
        return [_value(each) for each in value]
    if kind == "M":
        return plain(value)
    return None if kind == "NULL" else value


def value_of(value: Any) -> dict[str, Any]:
    """Return a Python value in DynamoDB's typed form; the reverse is in `plain`.

    Raises
    ------
    TypeError
        For types that no item of ours holds.
    """
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, int | float):
        return {"N": repr(value)}
    if isinstance(value, bytes):
        return {"B": value}
    if isinstance(value, frozenset) and value and all(isinstance(each, str) for each in value):
        return {"SS": sorted(value)}
    if isinstance(value, frozenset):
        return {"NS": sorted(repr(number) for number in value)}
    if isinstance(value, list | tuple):
        return {"L": [value_of(item) for item in value]}
    if isinstance(value, dict):
        return {"M": {str(key): value_of(item) for key, item in value.items()}}
    if value is None:
        return {"NULL": True}
    raise TypeError(f"no DynamoDB form for {type(value).__name__}")
