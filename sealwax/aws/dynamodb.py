"""One call to a DynamoDB table, its errors turned into ones that say what to do.

Called by the stores of the control table, the outbox, the letters and the like. It never
retries: the client's own attempts are bounded, and the caller knows what the
call is for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from sealwax.aws.clients import dynamodb_value, error_code
from sealwax.errors import SealwaxError

__all__ = ["ConditionFailed", "CursorInvalid", "Table", "plain", "typed"]

#: AWS error codes of wrong requests and missing rights: no repeat mends them.
#: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
_LASTING = frozenset({"AccessDeniedException", "ResourceNotFoundException", "ValidationException"})


class ConditionFailed(SealwaxError):
    """Somebody else changed this item first; read it again."""


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

    client: Any
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
        """Make one call that names the table itself, such as a batch."""
        try:
            answer: dict[str, Any] = getattr(self.client, operation)(**arguments)
        except ClientError as error:
            if error_code(error) == "ConditionalCheckFailedException":
                raise ConditionFailed from None
            raise self.explained(operation, error) from error
        except BotoCoreError as error:
            raise self.explained(operation, error) from error
        return answer

    def explained(self, operation: str, error: Exception) -> SealwaxError:
        """Return the store's own error for one of botocore's."""
        code = error_code(error)
        if isinstance(error, BotoCoreError):
            return self.unreachable(f"DynamoDB cannot be reached ({code}); try again later.")
        if code in _LASTING:
            return self.denied(
                f"DynamoDB refused {operation} on {self.name} ({code}); check the table's "
                "name and the role's permissions."
            )
        return self.unreachable(
            f"DynamoDB does not serve {self.name} now ({code}); try again later."
        )


def typed(values: dict[str, Any]) -> dict[str, Any]:
    """Return values in DynamoDB's form, those that are None left out."""
    return {name: dynamodb_value(value) for name, value in values.items() if value is not None}


def plain(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item of DynamoDB's typed form as plain values."""
    return {name: _value(typed) for name, typed in item.items()}


def _value(typed: dict[str, Any]) -> Any:
    kind, value = next(iter(typed.items()))
    if kind == "N":
        number = float(value)
        return int(number) if number.is_integer() else number
    if kind == "L":
        return [_value(each) for each in value]
    if kind == "M":
        return plain(value)
    return None if kind == "NULL" else value
