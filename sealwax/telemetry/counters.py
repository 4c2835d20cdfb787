"""Counters of the transport and of the duties, for logs, heartbeats and tests.

Every part of the transport counts here, under a name that stands where it
counts: a new counter changes nothing here. Nobody resets. Reading gives a copy.
`CounterLog` writes them now and then, so that a worker without metrics can be
seen into too.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

__all__ = ["CounterLog", "Counters"]

logger = logging.getLogger(__name__)


class Counters:
    """Named counts that several threads raise.

    docs/reference/counters.md lists every name with its meaning.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str, amount: int = 1) -> None:
        """Raise one counter."""
        if amount:
            with self._lock:
                self._counts[name] += amount

    def snapshot(self) -> dict[str, int]:
        """Return a copy of all counts that are not zero."""
        with self._lock:
            return dict(sorted(self._counts.items()))


class CounterLog:
    """Writes the counters to the log, at most once in `every` seconds; 0: never.

    Parameters
    ----------
    every
        Seconds between two lines.
    """

    def __init__(
        self, counters: Counters, every: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._counters = counters
        self._every = every
        self._clock = clock
        self._lock = threading.Lock()
        self._last = clock()

    def tick(self) -> None:
        """Write a line if it is time to."""
        with self._lock:
            now = self._clock()
            if not self._every or now - self._last < self._every:
                return
            self._last = now
        self.write()

    def write(self) -> None:
        """Write a line now, unless none are wanted."""
        counts = self._counters.snapshot()
        if self._every and counts:
            # Twice, for JSON logs and for plain ones, which leave `extra` out.
            logger.info(
                "Transport counters: %s",
                " ".join(f"{name}={count}" for name, count in counts.items()),
                extra={"counters": counts},
            )
