"""Fair round-robin scheduling of received requests.

Celery hands them over in the order of arrival, so that everything behind a
burst of retries waits for it: a downstream that fails would slow the jobs that
do not need it. Here messages received for the first time go before those
received again, three to one where both wait, and among either the tasks of
each fair group (tenant) go round. Installed on a running consumer by
`sealwax.transport.celery.consumer.adopt`; keeps at most the prefetch limit, starves
nobody, loses nothing: a waiting request is a message not yet started.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from celery.exceptions import TaskRevokedError

__all__ = ["FairQueue", "PoolSlots", "ThreadsFairQueue", "install_fair_queue"]

#: First receives for one repetition, where both wait.
FIRSTS_FOR_ONE_AGAIN = 3


#: Requests of one key keep their order: a fair group and a task's name.
_Key = tuple[str | None, str | None]


class _RoundRobin:
    """Requests by key: one of each key in a round, those of a key in their order of arrival."""

    def __init__(self) -> None:
        self._waiting: dict[_Key, deque[Any]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, key: _Key, request: Any) -> None:
        self._waiting.setdefault(key, deque()).append(request)

    def take(self) -> Any:
        key = next(iter(self._waiting))
        requests = self._waiting.pop(key)
        request = requests.popleft()
        if requests:
            # To the end of the round.
            self._waiting[key] = requests
        return request

    def clear(self) -> None:
        self._waiting.clear()


class FairQueue:
    """Waiting requests and their order, for a pool whose slots are a semaphore. Thread-safe.

    Parameters
    ----------
    pool
        Celery's pool, which the requests are handed to.
    slots
        `acquire` calls its argument once, when a slot is or becomes free; `release`
        returns one. Whoever handles a task's end releases its slot.
    """

    def __init__(self, pool: Any, slots: Any) -> None:
        self._pool = pool
        self._slots = slots
        self._lock = threading.Lock()
        self._first = _RoundRobin()
        self._again = _RoundRobin()
        self._in_a_row = 0

    def take(self, request: Any) -> None:
        """Queue a request until it has a slot, which may be at once."""
        delivery = getattr(request, "delivery", None)
        again = delivery is not None and delivery.receive_count > 1
        with self._lock:
            waiting = self._again if again else self._first
            waiting.add((getattr(delivery, "group", None), request.name), request)
        self._slots.acquire(self._next)

    def clear(self) -> None:
        """Forget all that wait: their messages were released with their connection."""
        with self._lock:
            self._first.clear()
            self._again.clear()

    def _next(self) -> bool:
        """Hand the request whose turn it is to the pool; return whether it uses the slot."""
        try:
            self._choose().execute_using_pool(self._pool)
        except TaskRevokedError:
            self._slots.release()
            return False
        return True

    def _choose(self) -> Any:
        with self._lock:
            if self._first and (not self._again or self._in_a_row < FIRSTS_FOR_ONE_AGAIN):
                self._in_a_row += bool(self._again)
                return self._first.take()
            self._in_a_row = 0
            return self._again.take()


class ThreadsFairQueue(FairQueue):
    """The same for a pool of threads, whose slots are `PoolSlots`."""

    def _next(self) -> bool:
        request = self._choose()
        if getattr(request, "released", False):  # a task of another class has Celery's request
            # At the worker's end, too: the pool takes nothing then.
            return False
        try:
            result = request.execute_using_pool(self._pool)
        except TaskRevokedError:
            return False
        result.f.add_done_callback(lambda _: self._slots.release())
        return True


class PoolSlots:
    """The free threads of a pool that has no semaphore. Thread-safe.

    Callbacks return whether they used their slot.
    """

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._free = count
        self._waiting: deque[Callable[[], bool]] = deque()

    def acquire(self, callback: Callable[[], bool]) -> None:
        """Call back with a slot: now, or on the thread that releases one."""
        with self._lock:
            if self._free <= 0:
                self._waiting.append(callback)
                return
            self._free -= 1
        if not callback():
            self.release()

    def release(self) -> None:
        """Give a slot to the longest waiting callback that uses it."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._free += 1
                    return
                callback = self._waiting.popleft()
            if callback():
                return


def install_fair_queue(consumer: Any) -> None:
    """Schedule a running consumer's requests fairly, where its pool's slots can be counted."""
    controller: Any = getattr(consumer, "controller", None)
    pool: Any = getattr(consumer, "pool", None)
    semaphore = getattr(controller, "semaphore", None)
    if semaphore is not None and getattr(pool, "uses_semaphore", False):
        if not getattr(controller, "pool_putlocks", False):
            return
        queue = FairQueue(pool, semaphore)
        clear = semaphore.clear

        def clear_both() -> None:
            clear()
            queue.clear()

        semaphore.clear = clear_both
        consumer.on_task_request = queue.take
    elif getattr(pool, "executor", None) is not None:
        consumer.on_task_request = ThreadsFairQueue(pool, PoolSlots(pool.limit)).take
