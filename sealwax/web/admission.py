"""Admission: whether a lane takes more jobs, by how long its jobs wait.

Called for each submission over HTTP, cheaply: the ledger is asked once in a few
seconds for each lane and process. Only jobs that wait for their first attempt
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

#: Seconds that an answer is believed.
BELIEVED = 3.0

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
        self._asked: dict[str, float] = {}
        self._waits: dict[str, float] = {}

    def refused(self, lane: str) -> int | None:
        """Return None where the lane takes more, else the seconds to wait."""
        limit = self._limits.get(lane)
        if limit is None:
            return None
        with self._lock:
            now = self._monotonic()
            old = now - self._asked.get(lane, -BELIEVED) >= BELIEVED
            if old:
                # The others go by the last answer meanwhile.
                self._asked[lane] = now
        if old:
            self._waits[lane] = self._wait(lane)
        return RETRY_AFTER if self._waits.get(lane, 0.0) > limit else None

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
