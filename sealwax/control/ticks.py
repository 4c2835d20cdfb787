"""Which tick of a schedule was fired last, and who is firing one now.

Called by who fires periodic jobs. A tick is claimed by one conditional write,
so that one process of many fires it; a claim that is not finished ends by
itself, and the job's id, which follows from the tick, absorbs the repeat.
"""

from __future__ import annotations

from collections.abc import Callable

from sealwax.aws.clock import AWS_CLOCK
from sealwax.control.table import ConditionFailed, ControlTable

__all__ = ["Ticks"]

#: Seconds after which another process may fire a tick that was claimed and not finished.
CLAIM = 30.0


class Ticks:
    """The items of kind `tick`."""

    def __init__(self, table: ControlTable, clock: Callable[[], float] = AWS_CLOCK) -> None:
        self._table = table
        self._clock = clock

    def see(self, schedule: str) -> None:
        """Note when a schedule is first seen: what was due before is not fired, what is after is.

        Changes nothing where it was seen before.
        """
        try:
            self._table.update(
                "tick",
                schedule,
                "SET #last = :now",
                "attribute_not_exists(#last)",
                {":now": int(self._clock())},
            )
        except ConditionFailed:
            return

    def claim(self, schedule: str, tick: int) -> bool:
        """Whether we are to fire this tick now.

        The first tick that is ever seen is noted, not fired: a new schedule
        begins with its next one.
        """
        now = self._clock()
        try:
            self._table.update(
                "tick",
                schedule,
                "SET #last = if_not_exists(#last, :tick), #firing = :tick, #until = :until",
                "attribute_not_exists(#last) OR "
                "( #last < :tick AND ( #firing <> :tick OR #until < :now ) )",
                {":tick": tick, ":until": now + CLAIM, ":now": now},
            )
        except ConditionFailed:
            return False
        item = self._table.get("tick", schedule) or {}
        return int(item.get("last", tick)) < tick

    def done(self, schedule: str, tick: int) -> None:
        """Note that a tick was fired."""
        try:
            self._table.update(
                "tick", schedule, "SET #last = :tick", "#last < :tick", {":tick": tick}
            )
        except ConditionFailed:
            return

    def pending(self, schedule: str, tick: int) -> bool:
        """Whether a tick is not fired yet."""
        item = self._table.get("tick", schedule)
        return item is None or int(item["last"]) < tick
