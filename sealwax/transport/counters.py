"""Counters of the transport, for logs, `/metrics` and tests.

Every part of the transport counts here; nobody resets. Reading gives a copy.
"""

from __future__ import annotations

import threading
from collections import Counter

__all__ = ["Counters"]


class Counters:
    """Named counts that several threads raise.

    Names: `receives`, `empty`, `received`, `batches.<kind>`, `entries.<kind>`,
    `failures.<kind>.<code>`, `leases.renewed`, `leases.lost`, `postponed`,
    `parked`, `quarantined.<reason>`, `released`, `acknowledged`.
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
