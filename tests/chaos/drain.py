"""When a run has drained: nothing is left, and nothing was left a moment before.

Queues, tables and the archive are read one after the other, while messages move
between them: what one reading has missed, the next one sees.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

__all__ = ["Drain", "Places"]

#: States of jobs that have not ended.
OPEN = ("accepted", "running", "retrying")

#: Messages left, at most, for the tables to be read: the emulator is slow at them.
FEW = 5


class Places(Protocol):
    """Where messages and letters can be."""

    def left(self, *, dead: bool) -> dict[str, int]:
        """Return how many messages each queue holds; `dead`: dead-letter queues too."""

    def archived(self) -> list[Any]:
        """Return the letters of the archive."""


class Drain:
    """Looks at what is left until two readings in succession found nothing.

    Parameters
    ----------
    stewards
        Whether the product has them: then they empty the dead-letter queues.
        Otherwise letters are only waited for once one of them is in the archive.
    """

    def __init__(self, places: Places, *, stewards: bool) -> None:
        self._places = places
        self.archives = stewards
        self.left: dict[str, int] = {}
        self.states: Counter[str] = Counter()
        self._empty = 0

    @property
    def open(self) -> int:
        """Jobs that have not ended, as the last reading of the table said."""
        return sum(self.states[name] for name in OPEN)

    @property
    def done(self) -> bool:
        """Whether the run has drained."""
        return self._empty >= 2

    def look(self, states: Any) -> None:
        """Read once; `states` returns each job's end by its id."""
        counts = self._places.left(dead=self.archives)
        self.left = {name: number for name, number in counts.items() if number}
        if sum(self.left.values()) <= FEW:
            ended: Mapping[str, Any] = states()
            found: Iterable[str] = (one.state for one in ended.values())
            self.states = Counter(found)
            if not self.archives and self._places.archived():
                self.archives = True
                self._empty = 0
                return
        clean = bool(self.states) and not self.open and not self.left
        self._empty = self._empty + 1 if clean else 0
