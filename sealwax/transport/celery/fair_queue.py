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

__all__ = ["FairQueue", "PoolSlots", "install_fair_queue"]

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
    """Waiting requests and their order. Thread-safe.

    Parameters
    ----------
    acquire
        Calls its argument once, when a slot is or becomes free.
    process
        Hands a request to the pool; its return value is returned to `acquire`'s caller.
    """

    def __init__(
        self, acquire: Callable[[Callable[[], Any]], Any], process: Callable[[Any], Any]
    ) -> None:
        self._acquire = acquire
        self._process = process
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
        self._acquire(self._next)

    def clear(self) -> None:
        """Forget all that wait: their messages were released with their connection."""
        with self._lock:
            self._first.clear()
            self._again.clear()

    def _next(self) -> Any:
        with self._lock:
            if self._first and (not self._again or self._in_a_row < FIRSTS_FOR_ONE_AGAIN):
                self._in_a_row += bool(self._again)
                request = self._first.take()
            else:
                self._in_a_row = 0
                request = self._again.take()
        return self._process(request)


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
        queue = FairQueue(semaphore.acquire, controller._process_task)  # noqa: SLF001 - Celery's unguarded one
        clear = semaphore.clear

        def clear_both() -> None:
            clear()
            queue.clear()

        semaphore.clear = clear_both
        consumer.on_task_request = queue.take
    elif getattr(pool, "executor", None) is not None:
        slots = PoolSlots(pool.limit)
        consumer.on_task_request = FairQueue(slots.acquire, _to_thread(pool, slots)).take


def _to_thread(pool: Any, slots: PoolSlots) -> Callable[[Any], bool]:
    def process(request: Any) -> bool:
        if getattr(request, "released", False):  # a task of another class has Celery's request
            # At the worker's end, too: the pool takes nothing then.
            return False
        try:
            result = request.execute_using_pool(pool)
        except TaskRevokedError:
            return False
        result.f.add_done_callback(lambda _: slots.release())
        return True

    return process
