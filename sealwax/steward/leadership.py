"""Leader leases: at most one steward does a duty at a time.

Each step is one conditional write. The fence rises with every change of
leader. A lease's end is compared when it is read, never left to DynamoDB's
time to live. Called by the steward's runner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sealwax.aws.clock import AWS_CLOCK
from sealwax.control.table import ConditionFailed, ControlTable

__all__ = ["LeaderLease", "LeaderLeases"]

#: Seconds by which clocks of two machines may differ: so long nobody takes
#: over after a lease's end.
SKEW = 2.0


@dataclass(frozen=True)
class LeaderLease:
    """A duty that we lead until `until` (epoch seconds), in the reign numbered `fence`."""

    name: str
    fence: int
    until: float


class LeaderLeases:
    """Takes, renews and gives back leader leases.

    Parameters
    ----------
    owner
        Name of this process, unlike any other's.
    seconds
        How long a lease lasts unless renewed.
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

    def take(self, name: str) -> LeaderLease | None:
        """Take a lease that nobody holds; None where somebody does."""
        now = self._clock()
        return self._write(
            name,
            "SET #owner = :me, #until = :until, fence = if_not_exists(fence, :zero) + :one",
            "attribute_not_exists(id) OR #until < :ended",
            {":ended": now - SKEW, ":zero": 0, ":one": 1, ":until": now + self._seconds},
        )

    def renew(self, lease: LeaderLease) -> LeaderLease | None:
        """Push the end out; None where the lease was lost."""
        return self._write(
            lease.name,
            "SET #until = :until",
            "#owner = :me AND fence = :fence",
            {":fence": lease.fence, ":until": self._clock() + self._seconds},
        )

    def give_back(self, lease: LeaderLease) -> None:
        """Let others take it at once; nothing happens where it was lost."""
        self._write(
            lease.name,
            "SET #until = :zero",
            "#owner = :me AND fence = :fence",
            {":fence": lease.fence, ":zero": 0},
        )

    def peers(self, family: str) -> int:
        """Say that we are there; return how many owners said so lately, we included.

        One write: a set of names for each stretch of a lease's length, of which the
        last two count and older ones are removed.
        """
        stretch = int(self._clock() // self._seconds)
        item = self._table.update(
            "leader",
            f"{family}.peers",
            f"ADD in{stretch} :me",
            "attribute_not_exists(fence)",
            {":me": frozenset([self._owner])},
        )
        sets = {name: value for name, value in item.items() if name[2:].isdigit()}
        recent = [name for name in sets if abs(int(name[2:]) - stretch) <= 1]
        old = [name for name in sets if name not in recent]
        if old:
            self._table.update(
                "leader",
                f"{family}.peers",
                f"REMOVE {', '.join(old)} ADD in{stretch} :me",
                "attribute_not_exists(fence)",
                {":me": frozenset([self._owner])},
            )
        return len(frozenset[str]().union(*(sets[name] for name in recent)))

    def _write(
        self, name: str, update: str, condition: str, values: dict[str, float]
    ) -> LeaderLease | None:
        try:
            item = self._table.update(
                "leader", name, update, condition, values | {":me": self._owner}
            )
        except ConditionFailed:
            return None
        return LeaderLease(name, int(item["fence"]), float(item["until"]))
