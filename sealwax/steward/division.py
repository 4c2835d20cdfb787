"""The division of one duty's parts among the stewards that run.

`outbox.0` to `outbox.7` are parts of one duty, each under its own leader lease.
A steward takes its share of them alone, so that several work side by side. The
shares only balance: who does a part is decided by its lease. Called by the runner.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sealwax.errors import SealwaxError
from sealwax.steward.leadership import LeaderLeases

__all__ = ["Division", "family_of"]


def family_of(name: str) -> str | None:
    """Return the duty whose part a name is, as in `outbox.3`; None for a whole duty."""
    family, point, _ = name.partition(".")
    return family if point else None


class Division:
    """How many parts of a duty this steward holds, and may hold.

    Parameters
    ----------
    parts
        How many there are.
    seconds
        How long a leader lease lasts; the peers are counted thrice as often.
    """

    def __init__(
        self,
        leases: LeaderLeases,
        family: str,
        parts: int,
        *,
        seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leases = leases
        self._family = family
        self._parts = parts
        self._seconds = seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._held = 0
        self._share = parts
        self._counted: float | None = None

    def reserve(self, *, beyond: bool) -> bool:
        """Count a part as ours before its lease is asked for; False where we have our share.

        `beyond` is for a part that had long no turn of ours: where its lease is
        free all the same, whoever's share it is does not do it.
        """
        self._count_peers()
        with self._lock:
            if self._held >= self._share and not beyond:
                return False
            self._held += 1
            return True

    def release(self) -> None:
        """Count one part less: its lease was refused, lost or given back."""
        with self._lock:
            self._held -= 1

    def cede(self) -> bool:
        """Count one part less where we hold more than our share; True: give its lease back."""
        self._count_peers()
        with self._lock:
            if self._held <= self._share:
                return False
            self._held -= 1
            return True

    def _count_peers(self) -> None:
        now = self._monotonic()
        with self._lock:
            if self._counted is not None and now - self._counted < self._seconds / 3:
                return
            self._counted = now
        try:
            peers = self._leases.peers(self._family)
        except SealwaxError:
            return  # what we knew will do: shares only balance
        with self._lock:
            self._share = -(-self._parts // max(1, peers))
