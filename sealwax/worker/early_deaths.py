"""Counts children that died with a message in hand before its job was claimed.

The ledger counts deaths by claim, so a message that ends its child before the
claim would do so for ever. One of a worker's main process, asked by its tasks;
in memory, because nobody has vouched for such a message yet: the job whose id
it bears pays nothing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

__all__ = ["EarlyDeaths"]


class EarlyDeaths:
    """Deaths by message; thread-safe.

    Parameters
    ----------
    most
        Messages remembered; the ones seen longest ago are forgotten first.
    """

    def __init__(self, most: int = 1_000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._counts: OrderedDict[str, int] = OrderedDict()

    def add(self, message: str) -> int:
        """Count one; return how many there have been."""
        with self._lock:
            count = self._counts.pop(message, 0) + 1
            self._counts[message] = count
            while len(self._counts) > self._most:
                self._counts.popitem(last=False)
            return count

    def forget(self, message: str) -> None:
        """Forget a message that has ended."""
        with self._lock:
            self._counts.pop(message, None)
