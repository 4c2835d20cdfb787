"""The one table behind the ledger: calls, conditional writes and what their refusals mean.

Used by `Ledger` alone. It knows DynamoDB and no state of a job; it never
decides what a refusal means for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sealwax.aws.dynamodb import ConditionFailed, Table, value_of
from sealwax.aws.shards import SHARDS
from sealwax.ledger.entry import LedgerEntry
from sealwax.ledger.errors import LedgerDenied, LedgerUnreachable

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

__all__ = ["Conflict", "LedgerTable", "Writer", "Written", "of_generation"]

#: Attributes whose names DynamoDB reserves.
#: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ReservedWords.html
_RESERVED = frozenset({"state", "token", "due", "cause", "error", "reason", "result", "alone"})


_NAME = re.compile(r":[a-z_]+")


@dataclass(frozen=True)
class Written:
    """The condition held; `entry` is the new one, where it was asked for."""

    entry: LedgerEntry | None = None


@dataclass(frozen=True)
class Conflict:
    """The condition did not hold; `entry` is what stands there, if it was told."""

    entry: LedgerEntry | None


class LedgerTable(Table):
    """Typed access to the table of jobs; its calls raise `LedgerUnreachable` and `LedgerDenied`."""

    def __init__(self, client: DynamoDBClient, name: str) -> None:
        super().__init__(client, name, LedgerUnreachable, LedgerDenied)

    def get(self, job_id: str) -> LedgerEntry | None:
        """Return a job's entry, read consistently, or None."""
        answer = self.call("get_item", Key={"id": {"S": job_id}}, ConsistentRead=True)
        item = answer.get("Item")
        return LedgerEntry.from_item(item) if item else None

    def update(
        self, job_id: str, update: str, condition: str, values: dict[str, Any], *, new: bool = False
    ) -> Written | Conflict:
        """Update an item under a condition.

        Parameters
        ----------
        update, condition
            DynamoDB expressions; reserved names are written `#name`.
        values
            Python values of the expressions' `:names`; what neither uses is left out.
        new
            Whether the new entry is wanted.
        """
        names, used = _names_in(f"{update} {condition}")
        more: dict[str, Any] = {"ExpressionAttributeNames": names} if names else {}
        if new:
            more["ReturnValues"] = "ALL_NEW"
        try:
            answer = self.call(
                "update_item",
                Key={"id": {"S": job_id}},
                UpdateExpression=update,
                ConditionExpression=condition,
                ExpressionAttributeValues={k: value_of(v) for k, v in values.items() if k in used},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **more,
            )
        except ConditionFailed as failed:
            return Conflict(LedgerEntry.from_item(failed.item) if failed.item else None)
        attributes = answer.get("Attributes")
        return Written(LedgerEntry.from_item(attributes) if attributes else None)


@lru_cache(maxsize=256)  # the ledger says a few dozen things, over and over
def _names_in(text: str) -> tuple[dict[str, str], frozenset[str]]:
    """Return the reserved names that expressions write `#name`, and their `:names`."""
    names = {f"#{name}": name for name in _RESERVED if f"#{name}" in text}
    return names, frozenset(_NAME.findall(text))


class Writer:
    """What the parts of the ledger share."""

    def __init__(
        self,
        table: LedgerTable,
        *,
        keep: float,
        clock: Callable[[], float],
        shards: int = SHARDS,
    ) -> None:
        self._table = table
        self._keep = keep
        self._clock = clock
        self._shards = shards

    def _update(self, job_id: str, update: str, condition: str, values: dict[str, Any]) -> bool:
        return isinstance(self._table.update(job_id, update, condition, values), Written)


def of_generation(generation: int) -> str:
    """Return the condition that an entry is of `:generation`; a job never replayed has none."""
    same = "generation = :generation"
    return same if generation else f"(attribute_not_exists(generation) OR {same})"
