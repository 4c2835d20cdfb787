"""What this process must not receive or start now, and why.

Set by whoever watches over a worker (operators' pauses, a drain, a ledger that
is away); asked by the intake before it receives and by the consumer before it
hands a task on. A hold never costs an attempt: what was received and not
started is given back. Outlives connections: a new one asks again.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

__all__ = ["ConsumerPauses", "postponement"]

#: Bounds of how long a paused task's message stays away, in seconds.
_SOONEST, _LATEST = 15.0, 600.0


class Pausable(Protocol):
    """What a hold tells."""

    def held_changed(self, queue: str) -> None:
        """Look at the holds of a queue again."""

    def running(self) -> list[tuple[str, str]]:
        """Return the jobs that were handed to the pool and have not ended, with their tokens."""

    def close(self) -> None:
        """Receive no more; give back what is not finished."""


class ConsumerPauses:
    """Reasons by queue, and paused tasks; thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._reasons: dict[str, set[str]] = {}
        self._tasks: dict[str, float] = {}
        self._intakes: weakref.WeakSet[Pausable] = weakref.WeakSet()

    def __repr__(self) -> str:
        # Options are told apart by their text: two of one kind share an engine.
        return "Holds()"

    def join(self, intake: Pausable) -> None:
        """Tell this intake of changes while it lives."""
        self._intakes.add(intake)

    @property
    def intakes(self) -> list[Pausable]:
        """Those that are told now."""
        return list(self._intakes)

    def reasons(self, queue: str) -> frozenset[str]:
        """Return why a queue is not received from; empty where it is."""
        with self._lock:
            return frozenset(self._reasons.get(queue, ()))

    def hold(self, queue: str, reason: str) -> None:
        """Receive no more from a queue, and give back what was not started."""
        with self._lock:
            reasons = self._reasons.setdefault(queue, set())
            changed = reason not in reasons
            reasons.add(reason)
        if changed:
            self._tell(queue)

    def release(self, queue: str, reason: str) -> None:
        """Take one reason away; receiving begins again after the last one."""
        with self._lock:
            reasons = self._reasons.get(queue, set())
            changed = reason in reasons
            reasons.discard(reason)
        if changed:
            self._tell(queue)

    def set_tasks(self, paused: Mapping[str, float] | Iterable[str]) -> None:
        """Set which tasks are paused, by name, with the epoch second since when."""
        since = paused if isinstance(paused, Mapping) else dict.fromkeys(paused, self._clock())
        with self._lock:
            self._tasks = dict(since)

    def paused(self, task: str) -> float | None:
        """Return for how many seconds a task's message is to stay away; None: start it."""
        since = self._tasks.get(task)
        return None if since is None else postponement(self._clock() - since)

    def _tell(self, queue: str) -> None:
        for intake in self.intakes:
            intake.held_changed(queue)


def postponement(paused_for: float) -> float:
    """Return how long a paused task's message stays away, in seconds.

    A tenth of the pause so far: each message is received some tens of times
    over a pause of days, far from the queue's 1,000 receives, and runs soon
    after a short pause has ended.
    """
    return min(_LATEST, max(_SOONEST, paused_for / 10))
