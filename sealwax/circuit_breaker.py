"""A circuit breaker: whether to ask again somebody who has just not answered.

Called before and after each call by whoever makes it, from any thread. It never
makes a call itself. `sealwax.worker.routes` has what processes share.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["CircuitBreaker"]


class CircuitBreaker:
    """Open for some seconds after failures in a row; then one caller tries, and decides for all.

    Parameters
    ----------
    seconds
        How long it stays open.
    failures
        How many in a row open it.
    monotonic
        Seconds.
    """

    def __init__(
        self,
        seconds: float,
        *,
        failures: int = 1,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._failures = failures
        self._in_a_row = 0
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._open_until: float | None = None
        self._trying = False

    @property
    def closed(self) -> bool:
        """Whether each call may be made; one that goes well then need not be told of."""
        return self._open_until is None

    @property
    def wait(self) -> float:
        """Seconds until one caller may try; 0 where it is closed, or one may now."""
        with self._lock:
            return max(0.0, (self._open_until or 0.0) - self._monotonic())

    def enter(self) -> bool:
        """Whether to make the call; where True, `leave` must follow."""
        with self._lock:
            if self._open_until is None:
                return True
            if self._trying or self._monotonic() < self._open_until:
                return False
            self._trying = True
            return True

    def leave(self, *, reached: bool) -> None:
        """Tell how the call went."""
        with self._lock:
            self._trying = False
            self._in_a_row = 0 if reached else self._in_a_row + 1
            if reached:
                self._open_until = None
            elif self._in_a_row >= self._failures:
                self._open_until = self._monotonic() + self._seconds
