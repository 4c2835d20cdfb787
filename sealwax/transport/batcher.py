"""Threads that let concurrent callers share SQS batch calls.

One `Batcher` for each kind of call and queue. A lone entry goes at once; while
a call is under way others gather, up to ten, for a few milliseconds. Each
caller gets its own entry's outcome. Failed entries are tried again by entry,
until their deadline.

Must never be used across a fork: the child makes its own.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from sealwax.aws.backoff import jittered
from sealwax.aws.errors import error_code, is_retryable
from sealwax.aws.sqs import BATCH_BYTES, BATCH_ENTRIES
from sealwax.telemetry.counters import Counters
from sealwax.transport.batching import BatchEntry, EntryResult, take_batch

__all__ = ["Batcher"]

logger = logging.getLogger(__name__)

#: The batch together is too big although each entry fits: they go alone then.
TOO_LONG = frozenset({"BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong"})

#: Seconds since the last answer for which the next call is taken to have a connection.
WARM = 10.0


class Batcher:
    """Collects entries and makes the calls.

    Parameters
    ----------
    call
        Makes one AWS call for up to ten entries and returns an outcome each, in
        order; may raise, which then counts for all of them.
    kind
        `send`, `delete` or `visibility`: the name in counters.
    linger
        Seconds an entry waits for company while other calls are under way.
    immediate
        Whether a lone entry goes at once when no call is under way.
    concurrency
        Calls under way at once. One keeps the order of entries.
    """

    def __init__(
        self,
        call: Callable[[Sequence[BatchEntry]], list[EntryResult]],
        *,
        kind: str,
        counters: Counters,
        linger: float,
        immediate: bool,
        concurrency: int,
        max_bytes: int = BATCH_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._call = call
        self._kind = kind
        self._counters = counters
        self._linger = linger
        self._immediate = immediate
        self._concurrency = concurrency
        self._max_bytes = max_bytes
        self._clock = clock
        self._condition = threading.Condition()
        self._ready: deque[BatchEntry] = deque()
        self._later: list[tuple[float, int, BatchEntry]] = []
        self._sequence = itertools.count()
        self._busy_groups: set[str] = set()
        self._in_flight = 0
        self._unfinished = 0
        self._waiting = 0
        self._threads = 0
        self._hurry = 0
        self._closed = False
        self._answered = float("-inf")

    def submit(self, entry: BatchEntry, *, here: bool = False) -> None:
        """Queue one entry; its `done` is called later, from another thread.

        Parameters
        ----------
        here
            Whether the call may be made by this thread, before this returns: it is where
            nothing else waits or is under way, so that a lone entry costs no switch of
            threads. Only while calls are answered: a first connection may take longer than
            its time-outs say (names are looked up without one).
        """
        with self._condition:
            entry.since = self._clock()
            self._unfinished += 1
            lone = (
                here
                and self._immediate
                and not (self._ready or self._later or self._in_flight)
                and entry.since - self._answered < WARM
                and not _interruptible()
            )
            if lone:
                self._in_flight += 1
                if entry.group is not None:
                    self._busy_groups.add(entry.group)
        if lone:
            outcomes = [EntryResult(ok=False, code="Internal")]
            try:
                outcomes = self._attempt([entry])
            finally:
                self._finish([entry], outcomes)
            return
        with self._condition:
            self._ready.append(entry)
            if self._waiting == 0:
                self._add_thread()
            # The first entry sets a thread's clock, the tenth makes a batch full; those
            # between need nobody, and each wake-up costs a switch of threads. Any other
            # waiting thread is woken by the end of a call.
            count = len(self._ready)
            if self._hurry:
                self._condition.notify_all()
            elif (
                count == 1
                or count % BATCH_ENTRIES == 0
                or entry.group is not None
                or (self._immediate and self._in_flight == 0)
            ):
                self._condition.notify()

    def _add_thread(self) -> None:
        """Start one more sending thread, up to the limit; called with the lock held."""
        if self._threads < self._concurrency:
            self._threads += 1
            threading.Thread(target=self._run, name=f"sealwax-{self._kind}", daemon=True).start()

    def cancel(self, entry: BatchEntry) -> bool:
        """Withdraw an entry that no call has taken yet; its `done` is not called.

        Returns False where a call already carries it: its outcome is unknown.
        """
        with self._condition:
            found = entry in self._ready
            if found:
                self._ready.remove(entry)
            else:
                for item in self._later:
                    if item[2] is entry:
                        self._later.remove(item)
                        heapq.heapify(self._later)
                        found = True
                        break
            entry.cancelled = True
            if found:
                self._unfinished -= 1
                self._condition.notify_all()
            return found

    def flush(self, timeout: float) -> bool:
        """Send everything now, without lingering; wait for the outcomes.

        Returns False when `timeout` seconds were not enough.
        """
        until = self._clock() + timeout
        with self._condition:
            self._hurry += 1
            self._condition.notify_all()
            try:
                while self._unfinished:
                    left = until - self._clock()
                    if left <= 0:
                        return False
                    self._condition.wait(left)
                return True
            finally:
                self._hurry -= 1

    def close(self) -> None:
        """Let the threads end once nothing is left; entries may still come and are served."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    @property
    def pending(self) -> int:
        """Entries without an outcome yet."""
        with self._condition:
            return self._unfinished

    # -- threads

    def _run(self) -> None:
        while True:
            batch = self._next()
            if batch is None:
                return
            try:
                outcomes = self._attempt(batch)
            except Exception:
                logger.exception("The %s batcher failed; its entries are tried again", self._kind)
                outcomes = [EntryResult(ok=False, code="Internal", retryable=True)] * len(batch)
            self._finish(batch, outcomes)

    def _next(self) -> list[BatchEntry] | None:
        with self._condition:
            while True:
                now = self._clock()
                while self._later and self._later[0][0] <= now:
                    entry = heapq.heappop(self._later)[2]
                    if entry.group is not None:
                        # Its group waited for it: it goes before its successors.
                        self._busy_groups.discard(entry.group)
                    self._ready.appendleft(entry)
                wait = self._wait(now)
                if wait is not None and wait <= 0:
                    batch = take_batch(
                        self._ready, max_bytes=self._max_bytes, busy_groups=self._busy_groups
                    )
                    if batch:
                        self._in_flight += 1
                        self._busy_groups.update(e.group for e in batch if e.group is not None)
                        if self._ready and self._waiting:
                            self._condition.notify()
                        elif self._ready:
                            # Who queued the rest saw this thread waiting and added none.
                            self._add_thread()
                        return batch
                    wait = None
                if self._closed and not self._ready and not self._later:
                    self._threads -= 1
                    return None
                if wait is None and self._later:
                    wait = self._later[0][0] - now
                self._waiting += 1
                self._condition.wait(wait)
                self._waiting -= 1

    def _wait(self, now: float) -> float | None:
        """Seconds until a batch should go; None: nothing to do."""
        if not self._ready:
            return None
        if len(self._ready) >= BATCH_ENTRIES or self._hurry or self._closed:
            return 0
        if self._immediate and self._in_flight == 0:
            return 0
        return self._ready[0].since + self._linger - now

    def _attempt(self, batch: list[BatchEntry]) -> list[EntryResult]:
        live = [e for e in batch if not (e.skip and e.skip())]
        results: dict[int, EntryResult] = {}
        if live:
            self._counters.add(f"batches.{self._kind}")
            self._counters.add(f"entries.{self._kind}", len(live))
            try:
                made = self._call(live)
            except Exception as error:  # noqa: BLE001 - any failure is the entries' outcome
                code = error_code(error)
                self._counters.add(f"failures.{self._kind}.{code}")
                if code in TOO_LONG and len(live) > 1:
                    for entry in live:
                        entry.alone = True
                    made = [EntryResult(ok=False, code=code, retryable=True)] * len(live)
                else:
                    made = [EntryResult(ok=False, code=code, retryable=is_retryable(error))] * len(
                        live
                    )
            else:
                self._answered = self._clock()
                for outcome in made:
                    if not outcome.ok:
                        self._counters.add(f"failures.{self._kind}.{outcome.code}")
            results = {id(entry): outcome for entry, outcome in zip(live, made, strict=True)}
        skipped = EntryResult(ok=True, code="skipped")
        return [results.get(id(entry), skipped) for entry in batch]

    def _finish(self, batch: list[BatchEntry], outcomes: list[EntryResult]) -> None:
        finished: list[tuple[BatchEntry, EntryResult]] = []
        with self._condition:
            self._in_flight -= 1
            now = self._clock()
            for entry, outcome in zip(batch, outcomes, strict=True):
                entry.attempts += 1
                pause = 0.0 if outcome.code in TOO_LONG else jittered(entry.attempts)
                again = not outcome.ok and outcome.retryable and not entry.cancelled
                if again and now + pause < entry.deadline:
                    entry.not_before = now + pause
                    heapq.heappush(self._later, (entry.not_before, next(self._sequence), entry))
                    if self._waiting == 0:
                        self._add_thread()  # a caller's own thread will not try again
                else:
                    self._busy_groups.discard(entry.group or "")
                    finished.append((entry, outcome))
        for entry, outcome in finished:
            try:
                entry.done(outcome)
            except Exception:
                logger.exception("What follows a %s failed", self._kind)
        with self._condition:
            self._unfinished -= len(finished)
            self._condition.notify_all()


def _interruptible() -> bool:
    """Whether a soft time limit may be raised in this thread: a call would take it for its own."""
    pool = sys.modules.get("billiard.pool")
    return (
        pool is not None
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGUSR1) is getattr(pool, "soft_timeout_sighandler", None)
    )
