"""One item's insertion as the Stream tells it, and what became of its delivery. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Delivered",
    "Failed",
    "Outcome",
    "Poison",
    "StreamRecord",
    "Waits",
    "place_of",
    "read_record",
]


@dataclass(frozen=True, kw_only=True)
class StreamRecord:
    """One item that was inserted.

    Parameters
    ----------
    keys, item
        Primary key and whole item, in DynamoDB's typed form.
    sequence
        Its sequence number, kept as AWS spells it; empty where it was read from the table.
    before
        That of the record before it in the same shard, empty for the first: a
        checkpoint there comes back to this one.
    created
        Epoch seconds; DynamoDB says it is approximate.
    size
        Bytes, as DynamoDB counts them.
    """

    keys: dict[str, Any]
    item: dict[str, Any] = field(repr=False)
    created: float
    size: int = 0
    shard: str = ""
    sequence: str = ""
    before: str = ""

    @property
    def place(self) -> int:
        """The sequence number to compare by; 0 where it was read from the table."""
        return place_of(self.sequence)


@dataclass(frozen=True)
class Delivered:
    """It has arrived; its key's next may follow."""


@dataclass(frozen=True)
class Failed:
    """It was refused and may be taken later: charged to its budget."""

    reason: str


@dataclass(frozen=True)
class Waits:
    """Its destination takes nothing now, which is not its fault: it keeps its budget."""

    seconds: float


@dataclass(frozen=True)
class Poison:
    """No later try will succeed: it is set aside at once."""

    reason: str


Outcome = Delivered | Failed | Waits | Poison


def place_of(sequence: str) -> int:
    """Return a sequence number to compare by; 0 for none."""
    return int(sequence or 0)


def read_record(raw: dict[str, Any], *, shard: str, before: str) -> StreamRecord | None:
    """Return what a record says; None for one that tells of no insertion.

    Changes and deletions are none of ours, whether a writer's or the time to live's.

    Raises
    ------
    KeyError, TypeError, ValueError
        It is not of the form that DynamoDB documents.
        https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_Record.html
    """
    if raw.get("eventName") != "INSERT":
        return None
    change = raw["dynamodb"]
    created = change["ApproximateCreationDateTime"]
    return StreamRecord(
        keys=change["Keys"],
        item=change["NewImage"],
        created=created.timestamp() if hasattr(created, "timestamp") else float(created),
        size=int(change.get("SizeBytes", 0)),
        shard=shard,
        sequence=str(int(change["SequenceNumber"]) and change["SequenceNumber"]),
        before=before,
    )
