"""Client-side rate of calls to DynamoDB, adapted to what DynamoDB throttles.

One for each client, registered with its events. Until something is throttled it
counts and holds nothing up. Then it sends less: 70 % of the measured rate, grown
back by CUBIC as botocore's adaptive retry mode does. That mode itself holds
calls up without bound, at half a call a second at worst, and a lease does not
wait: here no try is held up longer than `most` seconds, and the rate never falls
under `LEAST`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from sealwax.aws.errors import THROTTLED

__all__ = ["LEAST", "AdaptiveRate"]

#: Calls a second that are always let through: a worker's renewals need about one.
LEAST = 4.0

#: CUBIC's constants: what is left after a loss, and how quickly it grows back.
#: https://datatracker.ietf.org/doc/html/rfc9438#section-4
BETA, SCALE = 0.7, 0.4

#: Seconds over which the rate is measured, and the weight of the newest measurement.
SPAN, WEIGHT = 0.5, 0.8


class AdaptiveRate:
    """Adapts one client's rate; thread-safe.

    Parameters
    ----------
    most
        Seconds for which one try is held up at the longest.
    """

    def __init__(
        self,
        most: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._most = most
        self._monotonic = monotonic
        self._pause = pause
        self._lock = threading.Lock()
        #: Calls a second; None: nothing was throttled yet.
        self.rate: float | None = None
        self._tokens = 1.0
        self._filled = monotonic()
        self._measured = 0.0
        self._counted = 0
        self._since = monotonic()
        self._peak = 0.0
        self._throttled_at = 0.0

    def register(self, events: Any, service: str) -> None:
        """Register with a client's events."""
        events.register(f"before-send.{service}", self._sending)
        events.register(f"needs-retry.{service}", self._answered)

    # -- botocore's events; what they return would be an answer or a delay

    def _sending(self, **_: Any) -> None:
        wait = self.reserve()
        if wait > 0:
            self._pause(wait)

    def _answered(self, response: Any = None, **_: Any) -> None:
        # None: no answer came at all, which says nothing about rates.
        if response is not None:
            parsed = response[1] or {}
            self.answered(throttled=(parsed.get("Error") or {}).get("Code") in THROTTLED)

    # -- arithmetic

    def reserve(self) -> float:
        """Take the next call's place; return the seconds to wait for it."""
        with self._lock:
            if self.rate is None:
                return 0.0
            now = self._monotonic()
            self._tokens = min(self.rate, self._tokens + (now - self._filled) * self.rate)
            self._filled = now
            wait = max(0.0, (1.0 - self._tokens) / self.rate)
            if wait >= self._most:
                # It goes all the same, and takes nothing from those behind it.
                return self._most
            self._tokens -= 1.0
            return wait

    def answered(self, *, throttled: bool) -> None:
        """Adapt the rate to one answer."""
        with self._lock:
            now = self._monotonic()
            self._measure(now)
            if throttled:
                rate = self._measured if self.rate is None else min(self._measured, self.rate)
                self._peak, self._throttled_at = rate, now
                self.rate = max(LEAST, rate * BETA)
            elif self.rate is not None:
                flat = (self._peak * (1 - BETA) / SCALE) ** (1 / 3)
                grown = SCALE * (now - self._throttled_at - flat) ** 3 + self._peak
                self.rate = max(LEAST, min(grown, 2.0 * self._measured))

    def _measure(self, now: float) -> None:
        self._counted += 1
        passed = now - self._since
        if passed >= SPAN:
            rate = self._counted / passed
            self._measured = WEIGHT * rate + (1 - WEIGHT) * self._measured
            self._counted, self._since = 0, now
