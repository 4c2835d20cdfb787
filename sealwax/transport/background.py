"""Background threads for calls that may block: hooks, dead-lettering, retries of both.

The event loop hands work over and never waits for it. Work that raises is
logged; its submitter has to try again.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from sealwax.transport.forks import gate

__all__ = ["Background"]

logger = logging.getLogger(__name__)


class Background:
    """Runs callables soon or later, on at most `threads` daemon threads."""

    def __init__(self, threads: int = 4, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = threads
        self._clock = clock
        self._condition = threading.Condition()
        self._jobs: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = itertools.count()
        self._threads = 0
        self._waiting = 0
        #: Of those who wait, how many were called and have not woken yet.
        self._called = 0
        self._running = 0
        self._gate = gate()

    def run(self, work: Callable[..., None], *args: Any, delay: float = 0.0) -> None:
        """Call `work(*args)` on a background thread after `delay` seconds."""
        with self._condition:
            heapq.heappush(self._jobs, (self._clock() + delay, next(self._sequence), work, args))
            if self._waiting > self._called:
                self._called += 1
            elif self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._serve, name="sealwax-background", daemon=True).start()
            self._condition.notify()

    def flush(self, timeout: float) -> bool:
        """Wait until nothing is due or running; False when time ran out.

        What is scheduled for later (the retry of something that failed) is not
        waited for.
        """
        until = self._clock() + timeout
        with self._condition:
            while self._running or any(job[0] <= self._clock() for job in self._jobs):
                left = until - self._clock()
                if left <= 0:
                    return False
                self._condition.wait(min(left, 0.1))
            return True

    def _serve(self) -> None:
        while True:
            work, args = self._take()
            try:
                with self._gate:
                    work(*args)
            except Exception:
                logger.exception("Background work failed")
            finally:
                with self._condition:
                    self._running -= 1
                    self._condition.notify_all()

    def _take(self) -> tuple[Callable[..., None], tuple[Any, ...]]:
        with self._condition:
            while True:
                wait = None
                if self._jobs:
                    wait = self._jobs[0][0] - self._clock()
                    if wait <= 0:
                        _, _, work, args = heapq.heappop(self._jobs)
                        self._running += 1
                        return work, args
                self._waiting += 1
                self._condition.wait(wait)
                self._waiting -= 1
                self._called = max(0, self._called - 1)
