"""Admission: whether a lane takes more jobs, by how long its jobs wait.

Called for each submission over HTTP, cheaply: the ledger is asked once in a few
seconds for each lane and process, by a thread of its own while requests go by the
last answer: a reading is some 25 calls where a hanging downstream's jobs stand
first, and whose request it is is chance. Only jobs that wait for their first attempt
count; one that fails for days must not close its lane to the others. It never
refuses because it could not find out. Periodic jobs and follow-ups do not ask:
nobody is there who could come back later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sealwax.aws.clock import AWS_CLOCK
from sealwax.ledger import JobState, Ledger, LedgerError, open_watch
from sealwax.settings import Settings

__all__ = ["Admission"]

#: Seconds after which an answer is asked for anew.
BELIEVED = 3.0

#: Seconds for which the old one holds meanwhile; later, and at first, a request asks itself.
OLDEST = 30.0

#: Pages of a hundred open jobs that are searched for one that waits.
PAGES = 3

#: Seconds after which a refused caller should ask again.
RETRY_AFTER = 10


class Admission:
    """Decides by lane.

    Parameters
    ----------
    ledger
        Of this process.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        *,
        clock: Callable[[], float] = AWS_CLOCK,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = {name: lane.max_wait for name, lane in settings.lanes.items()}
        self._ledger = ledger
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        #: By lane: when the answer was asked for, and the wait that it told.
        self._answers: dict[str, tuple[float, float]] = {}
        self._asking: set[str] = set()

    def refused(self, lane: str) -> int | None:
        """Return None where the lane takes more, else the seconds to wait."""
        limit = self._limits.get(lane)
        if limit is None:
            return None
        with self._lock:
            now = self._monotonic()
            asked, wait = self._answers.get(lane, (-OLDEST, 0.0))
            asks = now - asked >= BELIEVED and lane not in self._asking
            if asks:
                self._asking.add(lane)
        if asks and now - asked >= OLDEST:
            wait = self._ask(lane, now)
        elif asks:
            asker = threading.Thread(target=self._ask, args=(lane, now), name="admission")
            asker.daemon = True
            try:
                asker.start()
            except RuntimeError:  # no thread can be had: another request tries
                self._asking.discard(lane)
        elif now - asked >= OLDEST:
            return None  # another is finding out
        return RETRY_AFTER if wait > limit else None

    def _ask(self, lane: str, now: float) -> float:
        wait = 0.0
        try:
            wait = self._wait(lane)
        finally:
            with self._lock:
                self._answers[lane] = now, wait
                self._asking.discard(lane)
        return wait

    def _wait(self, lane: str) -> float:
        """Return how long the first job that has not been tried has waited, in seconds."""
        now = self._clock()
        after: str | None = None
        try:
            for _ in range(PAGES):
                page = self._ledger.watching(open_watch(lane), after=after)
                waiting = [
                    now - entry.since
                    for entry in page.entries
                    if entry.state is JobState.ACCEPTED and entry.since <= now
                ]
                after = page.after
                if waiting or after is None:
                    return max(waiting, default=0.0)
        except LedgerError:
            return 0.0
        return 0.0
