"""How many requests a tenant may make, a second and at once, in each process."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable

__all__ = ["LargeBodies", "RateLimiter", "RequestsUnderWay"]

#: Tenants remembered at once; the one longest unseen is forgotten, and so has
#: its whole burst again.
_TENANTS = 10_000

#: Large bodies that may wait for their turn, of 16 threads.
WAITING = 2

#: Seconds without a request of another tenant after which one may have all threads.
ALONE = 600.0


class RateLimiter:
    """Token buckets by tenant, so that one tenant's flood does not use the others' share.

    Parameters
    ----------
    rate
        Requests a second; 0 sets no limit.
    burst
        Requests at once.
    """

    def __init__(
        self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, tenant: str) -> int | None:
        """Return the whole seconds until `take` would allow one; None where it would now."""
        if not self._rate:
            return None
        with self._lock:
            level = self._level(tenant, self._clock())
        return None if level >= 1.0 else max(1, math.ceil((1.0 - level) / self._rate))

    def _level(self, tenant: str, now: float) -> float:
        level, at = self._buckets.get(tenant, (self._burst, now))
        return min(self._burst, level + (now - at) * self._rate)

    def take(self, tenant: str) -> int | None:
        """Take one request; return None, or the whole seconds to wait."""
        if not self._rate:
            return None
        now = self._clock()
        with self._lock:
            level = self._level(tenant, now)
            self._buckets.pop(tenant, None)
            allowed = level >= 1.0
            self._buckets[tenant] = (level - 1.0 if allowed else level, now)
            while len(self._buckets) > _TENANTS:
                self._buckets.popitem(last=False)
        return None if allowed else max(1, math.ceil((1.0 - level) / self._rate))


class RequestsUnderWay:
    """Counts of requests under way by tenant: one tenant never has all threads. Thread-safe.

    A tenant whose requests are the only ones, for `ALONE` seconds, may have all of them.

    Parameters
    ----------
    most
        Requests of one tenant at once; 0 sets no limit.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        #: The tenant of the last request, and when one of another tenant came before it.
        self._latest: str | None = None
        self._others_at = -ALONE

    def enter(self, tenant: str) -> bool:
        """Whether one more may begin; where True, `leave` must follow."""
        now = self._clock()
        with self._lock:
            if self._latest not in (None, tenant):
                self._others_at = now
            self._latest = tenant
            shared = now - self._others_at < ALONE
            if self._most and shared and self._counts[tenant] >= self._most:
                return False
            self._counts[tenant] += 1
            return True

    def full(self, tenant: str) -> bool:
        """Whether `enter` would be refused, as far as requests before this one tell."""
        with self._lock:
            shared = self._latest not in (None, tenant) or self._clock() - self._others_at < ALONE
            return bool(self._most) and shared and self._counts[tenant] >= self._most

    def leave(self, tenant: str) -> None:
        """Say that one has ended."""
        with self._lock:
            self._counts[tenant] -= 1
            if not self._counts[tenant]:
                del self._counts[tenant]


class LargeBodies:
    """Lets one body over `limits.request_bytes` after the other be parsed, in one process.

    As each that waits holds a thread, `WAITING` may wait; the next one is refused at once.
    """

    def __init__(self) -> None:
        self._one = threading.Lock()
        self._waiting = threading.Semaphore(WAITING)

    def enter(self, seconds: float) -> bool:
        """Wait for the others, for `seconds` at most; return whether it is this one's turn."""
        if self._one.acquire(blocking=False):
            return True
        if not self._waiting.acquire(blocking=False):
            return False
        try:
            return self._one.acquire(timeout=seconds)
        finally:
            self._waiting.release()

    def leave(self) -> None:
        """Let the next one in."""
        self._one.release()
