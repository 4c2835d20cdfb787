"""Fair round-robin scheduling of received requests.

Celery hands them over in the order of arrival, so that everything behind a
burst of retries waits for it: a downstream that fails would slow the jobs that
do not need it. Here messages received for the first time go before those
received again, three to one where both wait, and among either the tasks of
each fair group (tenant) go round. Installed on a running consumer by
`sealwax.transport.celery.consumer.adopt`; keeps at most the prefetch limit, starves
nobody, loses nothing: a waiting request is a message not yet started.

Where a tenant, or a task, has a share of the slots (`sealwax.transport.celery.shares`),
what exceeds it waits here, and what exceeds its share of the prefetch is given back.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from celery.exceptions import TaskRevokedError

from sealwax.transport.celery.shares import Key, SlotShares

__all__ = ["FairQueue", "PoolSlots", "ThreadsFairQueue", "install_fair_queue"]

#: First receives for one repetition, where both wait.
FIRSTS_FOR_ONE_AGAIN = 3

#: Seconds for which what finds no room in its share stays away, doubled with each receive.
AWAY, AWAY_AT_MOST = 1.0, 60.0


class _RoundRobin:
    """Requests by key: one of each key in a round, those of a key in their order of arrival."""

    def __init__(self) -> None:
        self._waiting: dict[Key, deque[Any]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, key: Key, request: Any) -> None:
        self._waiting.setdefault(key, deque()).append(request)

    def take(self, admits: Callable[[Key], bool]) -> tuple[Key, Any] | None:
        """Take the first of the first key in the round that may run; None: none may."""
        key = next((each for each in self._waiting if admits(each)), None)
        if key is None:
            return None
        requests = self._waiting.pop(key)
        request = requests.popleft()
        if requests:
            # To the end of the round.
            self._waiting[key] = requests
        return key, request

    def startable(self, admits: Callable[[Key], bool]) -> bool:
        return any(admits(key) for key in self._waiting)

    def clear(self) -> None:
        self._waiting.clear()


class FairQueue:
    """Waiting requests and their order, for a pool whose slots are a semaphore. Thread-safe.

    It asks for one slot at a time, and only where some request may run: a slot
    that it cannot use stays free.

    Parameters
    ----------
    pool
        Celery's pool, which the requests are handed to.
    slots
        `acquire` calls its argument once, when a slot is or becomes free; `release`
        returns one. Whoever handles a task's end releases its slot.
    shares
        Which of them may run; default: all.
    """

    def __init__(self, pool: Any, slots: Any, shares: SlotShares | None = None) -> None:
        self._pool = pool
        self._slots = slots
        self._shares = shares or SlotShares(1)
        self._lock = threading.RLock()
        self._first = _RoundRobin()
        self._again = _RoundRobin()
        self._in_a_row = 0
        self._waiting: Counter[tuple[int, str | None]] = Counter()
        #: Whether a slot is asked for, and whether somebody is about to ask.
        self._asking = self._looping = False

    def take(self, request: Any | None) -> None:
        """Queue a request until it has a slot, which may be at once; or give it back.

        Without one: only look whether what waits may run now.
        """
        if request is not None:
            self._put(request)
        with self._lock:
            if self._looping:
                return  # whoever does looks again
            self._looping = True
        try:
            # One slot after the other, while some request may run.
            while self._wants():
                self._slots.acquire(self._next)
        except BaseException:
            with self._lock:
                self._looping = self._asking = False
            raise

    def _put(self, request: Any) -> None:
        delivery = getattr(request, "delivery", None)
        receives = getattr(delivery, "receive_count", 1)
        tenant = getattr(request, "tenant", None) or getattr(delivery, "group", None)
        key = (tenant, request.name)
        with self._lock:
            self._shares.see(key)
            if not self._shares.admits(key):
                self._shares.forget_gone()
            # Requests of another class cannot be given back.
            surplus = hasattr(request, "give_back") and self._shares.surplus(key, self._waiting)
            if not surplus:
                (self._again if receives > 1 else self._first).add(key, request)
                self._count(key, 1)
        if surplus:
            # Not after the same time for all: they would come back together.
            away = min(AWAY_AT_MOST, AWAY * 2 ** min(receives, 10))
            request.give_back(away * random.uniform(0.5, 1.0))  # noqa: S311 - no secret

    def clear(self) -> None:
        """Forget all that wait: their messages were released with their connection."""
        with self._lock:
            self._first.clear()
            self._again.clear()
            self._waiting.clear()
            self._asking = False

    def ended(self, request: Any) -> None:
        """Let what waited for a share of an ended request have it."""
        with self._lock:
            self._shares.end(request)
        self.take(None)

    def _count(self, key: Key, by: int) -> None:
        for kind, name in enumerate(key):
            self._waiting[kind, name] += by
            if not self._waiting[kind, name]:
                del self._waiting[kind, name]

    def _wants(self) -> bool:
        """Whether to ask for a slot; where False, whoever loops has ended."""
        with self._lock:
            if self._asking or not self._some_may_run():
                self._looping = False
                return False
            self._asking = True
            return True

    def _some_may_run(self) -> bool:
        admits = self._shares.admits
        if self._first.startable(admits) or self._again.startable(admits):
            return True
        if self._first or self._again:
            self._shares.forget_gone()
        return self._first.startable(admits) or self._again.startable(admits)

    def _next(self) -> bool:
        """Hand the request whose turn it is to the pool; return whether it uses the slot."""
        used = False
        while not used and (request := self._choose()) is not None:
            if self._may_start(request):
                with suppress(TaskRevokedError):
                    self._started(request, request.execute_using_pool(self._pool))
                    used = True
            if not used:
                with self._lock:
                    self._shares.end(request)
        if not used:
            self._not_used()
        self.take(None)
        return used

    def _may_start(self, request: Any) -> bool:
        return True

    def _started(self, request: Any, result: Any) -> None:
        """Note that the pool has a request."""

    def _not_used(self) -> None:
        self._slots.release()

    def _choose(self) -> Any:
        """Take the request whose turn it is; None: none may run now."""
        admits = self._shares.admits
        with self._lock:
            self._asking = False
            both = bool(self._first and self._again)
            firsts = not both or self._in_a_row < FIRSTS_FOR_ONE_AGAIN
            found = self._first.take(admits) if firsts else None
            if found is not None:
                self._in_a_row += both
            else:
                found = self._again.take(admits)
                self._in_a_row = 0
                if found is None:
                    found = self._first.take(admits)
            if found is None:
                return None
            key, request = found
            self._count(key, -1)
            self._shares.start(key, request)
            if hasattr(request, "ended"):
                request.ended = self.ended
            return request


class ThreadsFairQueue(FairQueue):
    """The same for a pool of threads, whose slots are `PoolSlots`."""

    def _may_start(self, request: Any) -> bool:
        # A task of another class has Celery's request. At the worker's end, too, the
        # pool takes nothing.
        return not getattr(request, "released", False)

    def _started(self, request: Any, result: Any) -> None:
        def over(_: Any) -> None:
            self.ended(request)
            self._slots.release()

        result.f.add_done_callback(over)

    def _not_used(self) -> None:
        """Do nothing: `PoolSlots` keeps what its callback did not use."""


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
        queue = FairQueue(pool, semaphore, _shares(consumer, semaphore.initial_value))
        clear = semaphore.clear

        def clear_both() -> None:
            clear()
            queue.clear()

        semaphore.clear = clear_both
        consumer.on_task_request = queue.take
    elif getattr(pool, "executor", None) is not None:
        shares = _shares(consumer, pool.limit)
        consumer.on_task_request = ThreadsFairQueue(pool, PoolSlots(pool.limit), shares).take


def _shares(consumer: Any, slots: int) -> SlotShares:
    conf = getattr(getattr(consumer, "app", None), "conf", None)
    options = getattr(conf, "broker_transport_options", None) or {}
    return SlotShares(
        slots,
        per_tenant=options.get("per_tenant", 0),
        per_route=options.get("per_route", 0),
        prefetch=getattr(conf, "worker_prefetch_multiplier", 1),
    )
