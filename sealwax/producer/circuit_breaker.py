"""A circuit breaker: whether to ask again somebody who has just not answered.

Called before and after each call by whoever makes it, from any thread. It never
makes a call itself and holds nothing but two times.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["CircuitBreaker"]


class CircuitBreaker:
    """Open for some seconds after a failure; then one caller tries, and decides for all.

    Parameters
    ----------
    seconds
        How long it stays open.
    monotonic
        Seconds.
    """

    def __init__(self, seconds: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._open_until: float | None = None
        self._trying = False

    @property
    def closed(self) -> bool:
        """Whether the last call went well: each may be made, and need not be told of."""
        return self._open_until is None

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
            self._open_until = None if reached else self._monotonic() + self._seconds
