"""FIFO queues: one message of a group at a time, in order.

A receive brings several messages of one group. Only the first goes on; its
mates wait here. When it is done the next goes; when it is to come back later,
all mates go back to the queue at once, so that none overtakes it.
Pure bookkeeping under one lock.
"""

from __future__ import annotations

import threading
from collections import deque

from sealwax.transport.in_flight import Delivery

__all__ = ["FifoGroups"]


class FifoGroups:
    """Message groups of which this worker has messages in flight."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heads: dict[tuple[str, str], str] = {}
        self._mates: dict[tuple[str, str], deque[Delivery]] = {}

    def admit(self, delivery: Delivery) -> bool:
        """Return whether a delivery may run now; otherwise it waits here."""
        if delivery.group is None or not delivery.queue.endswith(".fifo"):
            return True
        key = (delivery.queue, delivery.group)
        with self._lock:
            head = self._heads.setdefault(key, delivery.token)
            if head == delivery.token:
                return True
            self._mates.setdefault(key, deque()).append(delivery)
            return False

    def finished(self, delivery: Delivery) -> Delivery | None:
        """Note that the head is done for good; return the mate that may run now."""
        key = (delivery.queue, delivery.group or "")
        with self._lock:
            if self._heads.get(key) != delivery.token:
                self._drop(key, delivery)
                return None
            mates = self._mates.get(key)
            if not mates:
                self._heads.pop(key)
                self._mates.pop(key, None)
                return None
            following = mates.popleft()
            self._heads[key] = following.token
            return following

    def returned(self, delivery: Delivery) -> list[Delivery]:
        """Note that the head goes back to its queue; return the mates, which must go too."""
        key = (delivery.queue, delivery.group or "")
        with self._lock:
            if self._heads.get(key) != delivery.token:
                self._drop(key, delivery)
                return []
            self._heads.pop(key)
            return list(self._mates.pop(key, ()))

    def _drop(self, key: tuple[str, str], delivery: Delivery) -> None:
        mates = self._mates.get(key)
        if mates and delivery in mates:
            mates.remove(delivery)
