"""Consumer pauses: queues that are not received from, and tasks that are not started.

Set by the heartbeat (operators' pauses, a drain) and the ledger watch; read by
the settler before it receives and by the consumer before it hands a task on. A
pause never costs an attempt: messages that were received and not started are
released. Pauses outlive connections: a new one asks again.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from sealwax.aws.clock import AWS_CLOCK

__all__ = ["ConsumerPauses", "postponement"]

#: Bounds of how long a paused task's message stays away, in seconds.
_SOONEST, _LATEST = 15.0, 600.0


class Pausable(Protocol):
    """A consumer that obeys pauses."""

    def pauses_changed(self, queue: str) -> None:
        """Read the pauses of a queue again."""

    def running(self) -> list[tuple[str, str]]:
        """Return (job id, delivery token) of each job that was handed to the pool and runs."""

    def close(self) -> None:
        """Stop receiving; release what is not finished."""


class ConsumerPauses:
    """Paused queues with their reasons, and paused tasks; thread-safe."""

    def __init__(self, clock: Callable[[], float] = AWS_CLOCK) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._reasons: dict[str, set[str]] = {}
        self._tasks: dict[str, float] = {}
        self._consumers: weakref.WeakSet[Pausable] = weakref.WeakSet()

    def __repr__(self) -> str:
        # Options are told apart by their text: two of one kind share an engine.
        return "ConsumerPauses()"

    def register(self, consumer: Pausable) -> None:
        """Notify a consumer of changes for as long as it lives."""
        self._consumers.add(consumer)

    @property
    def consumers(self) -> list[Pausable]:
        """The consumers that are notified now."""
        return list(self._consumers)

    def reasons(self, queue: str) -> frozenset[str]:
        """Return why a queue is not received from; empty where it is."""
        with self._lock:
            return frozenset(self._reasons.get(queue, ()))

    def pause(self, queue: str, reason: str) -> None:
        """Stop receiving from a queue, and release the messages that were not started."""
        with self._lock:
            reasons = self._reasons.setdefault(queue, set())
            changed = reason not in reasons
            reasons.add(reason)
        if changed:
            self._notify(queue)

    def resume(self, queue: str, reason: str) -> None:
        """Remove one reason; the queue is received from again after the last one."""
        with self._lock:
            reasons = self._reasons.get(queue, set())
            changed = reason in reasons
            reasons.discard(reason)
        if changed:
            self._notify(queue)

    def set_tasks(self, paused: Mapping[str, float] | Iterable[str]) -> None:
        """Set which tasks are paused, by name, with the epoch second since when."""
        since = paused if isinstance(paused, Mapping) else dict.fromkeys(paused, self._clock())
        with self._lock:
            self._tasks = dict(since)

    def task_delay(self, task: str) -> float | None:
        """Return for how many seconds a task's message stays away; None: start it."""
        since = self._tasks.get(task)
        return None if since is None else postponement(self._clock() - since)

    def _notify(self, queue: str) -> None:
        for consumer in self.consumers:
            consumer.pauses_changed(queue)


def postponement(paused_for: float) -> float:
    """Return how long a paused task's message stays away, in seconds.

    A tenth of the pause so far: each message is received some tens of times
    over a pause of days, far from the queue's 1,000 receives, and runs soon
    after a short pause has ended.
    """
    return min(_LATEST, max(_SOONEST, paused_for / 10))
