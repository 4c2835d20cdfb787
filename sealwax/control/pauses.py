"""What operators asked of workers: pauses of lanes and tasks, and drains.

Written by the operations API and the command line; read by every worker every
few seconds. A pause costs no attempt: workers give back what they have not
started. It stays until somebody ends it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from sealwax.aws.clock import AWS_CLOCK
from sealwax.control.table import ControlTable

__all__ = ["Pause", "Pauses"]

PAUSE = "pause"
DRAIN = "drain"

#: A drain is forgotten after this many seconds: its worker is long gone.
DRAIN_KEPT = 7 * 86_400

_REASON = 200


@dataclass(frozen=True)
class Pause:
    """Something that stands still: `what` is `lane`, `task` or `worker`."""

    what: str
    name: str
    by: str
    reason: str
    since: float


class Pauses:
    """The pauses and drains in the control table."""

    def __init__(self, table: ControlTable, clock: Callable[[], float] = AWS_CLOCK) -> None:
        self._table = table
        self._clock = clock

    def pause(self, what: str, name: str, *, by: str, reason: str = "") -> bool:
        """Pause a lane or a task; False where it was paused already, which stays as it is."""
        return self._begin(PAUSE, f"{what}#{name}", by, reason, {})

    def resume(self, what: str, name: str) -> bool:
        """End a pause; False where there was none."""
        return self._end(PAUSE, f"{what}#{name}")

    def drain(self, worker: str, *, by: str, reason: str = "") -> bool:
        """Have a worker receive nothing more; what it runs ends. False where it was asked."""
        expires = {"expires": int(self._clock()) + DRAIN_KEPT}
        return self._begin(DRAIN, worker, by, reason, expires)

    def undrain(self, worker: str) -> bool:
        """Have a drained worker receive again; False where it was not drained."""
        return self._end(DRAIN, worker)

    def all(self) -> list[Pause]:
        """Return the pauses of lanes and tasks, the oldest first."""
        found = []
        for item in self._table.all(PAUSE):
            what, _, name = item["id"].partition("#")
            found.append(Pause(what, name, item["by"], item["reason"], item["since"]))
        return sorted(found, key=lambda pause: pause.since)

    def drains(self) -> list[Pause]:
        """Return the drains."""
        now = self._clock()
        return [
            Pause("worker", item["id"], item["by"], item["reason"], item["since"])
            for item in self._table.all(DRAIN)
            if item.get("expires", now + 1) > now
        ]

    def drained(self, worker: str) -> bool:
        """Return whether a worker was asked to drain."""
        return self._table.get(DRAIN, worker) is not None

    def _begin(self, kind: str, item_id: str, by: str, reason: str, more: dict[str, int]) -> bool:
        if self._table.get(kind, item_id) is not None:
            return False
        clean = re.sub(r"[^\x20-\x7e\xa0-\uffff]", " ", reason).strip()[:_REASON]
        values = {"by": by, "reason": clean, "since": self._clock(), **more}
        self._table.put(kind, item_id, values)
        return True

    def _end(self, kind: str, item_id: str) -> bool:
        found = self._table.get(kind, item_id) is not None
        self._table.delete(kind, item_id)
        return found
