"""Who reads a shard, and how far it has come: leases and fenced checkpoints.

One item of the control table for each shard of each stream. A checkpoint is one
conditional write that renews the lease too: a reader that lost its shard records
nothing any more. Called by the readers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from sealwax.aws.clock import AWS_CLOCK
from sealwax.control.table import ConditionFailed, ControlTable

__all__ = ["RECOVERY", "Checkpoints", "ShardLease"]

_KIND = "stream"
_READER = "stream-reader"

#: Seconds by which two machines' clocks may differ: so long nobody takes over after a
#: lease's end.
SKEW = 2.0

#: Seconds for which a finished shard is remembered: a stream forgets one after a day.
#: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html
KEPT = 3 * 86_400

#: Stands where a shard's id would: the search of the table for what a stream forgot.
RECOVERY = "recovery"


@dataclass(frozen=True)
class ShardLease:
    """A shard that we read until `until`, in the reign numbered `fence`.

    Parameters
    ----------
    position, held
        As `Backlog.checkpoint` gives them.
    begun
        Whether somebody has read it before.
    """

    arn: str
    shard: str
    fence: int
    until: float
    begun: bool = False
    position: str = ""
    held: dict[str, str] = field(default_factory=dict)


class Checkpoints:
    """The leases and checkpoints of one table's streams.

    Parameters
    ----------
    owner
        Name of this process, unlike any other's.
    seconds
        How long a lease lasts unless it is renewed.
    clock
        Epoch seconds.
    """

    def __init__(
        self,
        table: ControlTable,
        *,
        owner: str,
        seconds: float,
        clock: Callable[[], float] = AWS_CLOCK,
    ) -> None:
        self._table = table
        self._owner = owner
        self._seconds = seconds
        self._clock = clock

    def all(self, arn: str) -> dict[str, dict[str, Any]]:
        """Return what is recorded of a stream's shards, by shard."""
        start = f"{arn}#"
        return {
            item["id"].removeprefix(start): item
            for item in self._table.all(_KIND)
            if item["id"].startswith(start)
        }

    def take(self, arn: str, shard: str) -> ShardLease | None:
        """Take a shard that nobody reads and that is not finished; None where it is not free."""
        now = self._clock()
        item = self._write(
            arn,
            shard,
            "SET #owner = :me, #until = :until, fence = if_not_exists(fence, :zero) + :one",
            "(attribute_not_exists(id) OR #until < :ended) AND attribute_not_exists(finished)",
            {":ended": now - SKEW, ":zero": 0, ":one": 1, ":until": now + self._seconds},
        )
        if item is None:
            return None
        return ShardLease(
            arn,
            shard,
            int(item["fence"]),
            float(item["until"]),
            begun="position" in item,
            position=str(item.get("position", "")),
            held={str(name): str(after) for name, after in item.get("held", {}).items()},
        )

    def save(self, lease: ShardLease, position: str, held: dict[str, str]) -> ShardLease | None:
        """Record how far the shard was read, and renew its lease; None where it was lost."""
        until = self._clock() + self._seconds
        item = self._write(
            lease.arn,
            lease.shard,
            "SET #until = :until, #position = :position, held = :held",
            "#owner = :me AND fence = :fence",
            {":fence": lease.fence, ":until": until, ":position": position, ":held": held},
        )
        if item is None:
            return None
        return replace(lease, until=until, begun=True, position=position, held=held)

    def renew(self, lease: ShardLease) -> ShardLease | None:
        """Push the lease's end out; None where it was lost."""
        until = self._clock() + self._seconds
        item = self._write(
            lease.arn,
            lease.shard,
            "SET #until = :until",
            "#owner = :me AND fence = :fence",
            {":fence": lease.fence, ":until": until},
        )
        return None if item is None else replace(lease, until=until)

    def finish(self, lease: ShardLease) -> bool:
        """Record that a closed shard was read to its end, so that its children may be read."""
        now = self._clock()
        item = self._write(
            lease.arn,
            lease.shard,
            "SET finished = :now, #until = :zero, expires = :expires REMOVE held",
            "#owner = :me AND fence = :fence",
            {":fence": lease.fence, ":now": now, ":zero": 0, ":expires": int(now) + KEPT},
        )
        return item is not None

    def give_back(self, lease: ShardLease) -> None:
        """Let others take the shard at once; nothing happens where it was lost."""
        self._write(
            lease.arn,
            lease.shard,
            "SET #until = :zero",
            "#owner = :me AND fence = :fence",
            {":fence": lease.fence, ":zero": 0},
        )

    def recovered(self, lease: ShardLease, began: float) -> bool:
        """Record that all was searched that was written before `began`, and end the search."""
        item = self._write(
            lease.arn,
            lease.shard,
            "SET #until = :zero, searched = :began",
            "#owner = :me AND fence = :fence",
            {":fence": lease.fence, ":zero": 0, ":began": began},
        )
        return item is not None

    def searched(self, arn: str) -> float:
        """Return up to when the table was searched for this stream, epoch seconds; 0: never."""
        item = self._table.get(_KIND, f"{arn}#{RECOVERY}") or {}
        return float(item.get("searched", 0.0))

    def announce(self) -> int:
        """Say that we read; return how many readers said so lately, we included."""
        now = self._clock()
        until = now + 2 * self._seconds
        self._table.put(_READER, self._owner, {"until": until, "expires": int(until) + 3_600})
        said = {item["id"] for item in self._table.all(_READER) if item["until"] > now}
        return len(said | {self._owner})

    def leave(self) -> None:
        """Say that we read no more."""
        self._table.delete(_READER, self._owner)

    def _write(
        self, arn: str, shard: str, update: str, condition: str, values: dict[str, Any]
    ) -> dict[str, Any] | None:
        if ":me" in f"{update} {condition}":
            values = values | {":me": self._owner}
        try:
            return self._table.update(_KIND, f"{arn}#{shard}", update, condition, values)
        except ConditionFailed:
            return None
