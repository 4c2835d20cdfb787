"""Shares of a worker's slots: how many jobs of one tenant, or of one task, run at once.

A job that waits for a downstream which hangs keeps its slot until its time-out.
Without shares one tenant's jobs take all slots, and everybody's wait behind them
in the lane. Asked by `sealwax.transport.celery.fair_queue` before it hands a
request to the pool; it never ends or interrupts what runs.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

__all__ = ["Key", "Share", "SlotShares"]

#: Whose a request is: a tenant, where it is known, and a task's name.
Key = tuple[str | None, str | None]

#: Seconds for which somebody who was seen counts as there.
REMEMBERED = 600.0

#: Names remembered at most; those longest unseen are forgotten.
_NAMES = 1_000


class Share:
    """What one name has of the slots at most, among names of one kind.

    Parameters
    ----------
    slots
        Of the pool.
    most
        Requests of one name at once; 0: no limit. None: half of the slots, once
        another name was seen within `REMEMBERED` seconds; who is alone has all.
    monotonic
        Seconds.
    """

    def __init__(
        self, slots: int, most: int | None, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._slots = slots
        self._most = most
        self._monotonic = monotonic
        self._running: Counter[str] = Counter()
        self._seen: OrderedDict[str, float] = OrderedDict()

    def see(self, name: str | None) -> None:
        """Note that a request of a name has come."""
        if name is None or self._most is not None:
            return
        self._seen[name] = self._monotonic()
        self._seen.move_to_end(name)
        if len(self._seen) > _NAMES:
            self._seen.popitem(last=False)

    def limit(self, name: str | None) -> int | None:
        """Return how many of a name may run at once now; None: as many as there are slots."""
        if name is None or self._most == 0:
            return None
        if self._most is not None:
            return self._most
        other = next((each for each in reversed(self._seen) if each != name), None)
        if other is None or self._seen[other] <= self._monotonic() - REMEMBERED:
            return None
        return (self._slots + 1) // 2

    def free(self, name: str | None) -> bool:
        """Whether one more of a name may run."""
        limit = self.limit(name)
        return limit is None or self._running[name or ""] < limit

    def change(self, name: str | None, by: int) -> None:
        """Count a start (1) or an end (-1)."""
        if name is not None:
            self._running[name] += by
            if self._running[name] <= 0:
                del self._running[name]


class SlotShares:
    """The shares of one worker's slots. Not thread-safe: its caller locks.

    Parameters
    ----------
    slots
        Of the pool.
    per_tenant, per_route
        Requests of one tenant, and of one task, at once; see `Share`.
    prefetch
        Messages that the worker holds for each slot.
    """

    def __init__(
        self,
        slots: int,
        *,
        per_tenant: int | None = 0,
        per_route: int | None = 0,
        prefetch: int = 1,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prefetch = prefetch
        self._shares = (
            Share(slots, per_tenant, monotonic=monotonic),
            Share(slots, per_route, monotonic=monotonic),
        )
        self._running: dict[int, tuple[Any, Key]] = {}

    def see(self, key: Key) -> None:
        """Note that a request has come."""
        for share, name in zip(self._shares, key, strict=True):
            share.see(name)

    def admits(self, key: Key) -> bool:
        """Whether one more such request may run."""
        return all(share.free(name) for share, name in zip(self._shares, key, strict=True))

    def surplus(self, key: Key, waiting: Counter[tuple[int, str | None]]) -> bool:
        """Whether a request that has come is one more than may wait here for its share.

        What waits fills the prefetch, of which the others need a part as they do of
        the slots: a share of it for each share of the slots.

        Parameters
        ----------
        waiting
            Requests that wait, by kind (0: tenant, 1: task) and name.
        """
        for kind, (share, name) in enumerate(zip(self._shares, key, strict=True)):
            limit = share.limit(name)
            if limit is None or share.free(name):
                continue
            if waiting[kind, name] >= limit * (self._prefetch - 1):
                return True
        return False

    def start(self, key: Key, request: Any) -> None:
        """Count a request that is handed to the pool."""
        self._running[id(request)] = (request, key)
        for share, name in zip(self._shares, key, strict=True):
            share.change(name, 1)

    def end(self, request: Any) -> None:
        """Count the end of a request, once."""
        found = self._running.pop(id(request), None)
        if found is not None:
            for share, name in zip(self._shares, found[1], strict=True):
                share.change(name, -1)

    def forget_gone(self) -> None:
        """Count the end of all whose message is no longer this worker's."""
        for request, _ in list(self._running.values()):
            if getattr(request, "released", False):
                self.end(request)
