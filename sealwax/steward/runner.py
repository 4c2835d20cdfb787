"""Runs duties: a thread for each, under its leader lease.

Called by `sealwax steward`. A failing turn never ends a thread: it is
counted, logged and tried again later; a leader that keeps failing steps down,
so that another steward may try. It never starts a turn without the lease.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import structlog

from sealwax.aws.backoff import backoff
from sealwax.errors import SealwaxError
from sealwax.steward.division import Division, family_of
from sealwax.steward.duty import Duty
from sealwax.steward.leadership import LeaderLease, LeaderLeases
from sealwax.telemetry.counters import Counters

__all__ = ["Steward"]

log = structlog.get_logger("sealwax.steward")

#: Seconds between tries after failures: doubled each time, up to the last.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0

#: Seconds after which a turn, or a call to AWS in it, will not come back any more.
STUCK = 120.0

#: Lease's lengths without a part of a divided duty, after which we try for it beyond our share.
LONG_WITHOUT = 3

#: Failures in a row after which a leader steps down.
PATIENCE = 3


class Steward:
    """One steward.

    Parameters
    ----------
    lease
        Seconds that a leader lease lasts; the one given to `leases`.
    monotonic
        Seconds; measures how long a lease is certainly ours.
    """

    def __init__(
        self,
        duties: Sequence[Duty],
        leases: LeaderLeases,
        *,
        lease: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = Counters()
        self.stopping = threading.Event()
        self._monotonic = monotonic
        families = [family_of(duty.name) for duty in duties]
        divisions = {
            family: Division(
                leases, family, families.count(family), seconds=lease, monotonic=monotonic
            )
            for family in families
            if family is not None
        }
        self._posts = [
            _Leadership(
                duty,
                leases,
                lease,
                self.counters,
                self.stopping,
                monotonic,
                None if family is None else divisions[family],
            )
            for duty, family in zip(duties, families, strict=True)
        ]
        self._threads = [
            threading.Thread(target=post.run, name=f"sealwax-{post.name}", daemon=True)
            for post in self._posts
        ]

    def start(self) -> None:
        """Start a thread for each duty."""
        for thread in self._threads:
            thread.start()

    def ended(self) -> list[str]:
        """Name the duties whose thread has ended although nobody stopped it: a defect."""
        return [
            post.name
            for post, thread in zip(self._posts, self._threads, strict=True)
            if not thread.is_alive() and not self.stopping.is_set()
        ]

    def stuck(self) -> list[str]:
        """Name the duties that have not come back from a turn for `STUCK` seconds."""
        now = self._monotonic()
        return [post.name for post in self._posts if now - post.seen > STUCK]

    def stop(self, *, grace: float = 15.0) -> bool:
        """End the turns and give the leases back; False where one does not end in time."""
        self.stopping.set()
        end = time.monotonic() + grace
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)


class _Leadership:
    """One duty's thread; also the `Leader` of its turns."""

    def __init__(
        self,
        duty: Duty,
        leases: LeaderLeases,
        seconds: float,
        counters: Counters,
        stopping: threading.Event,
        monotonic: Callable[[], float],
        division: Division | None = None,
    ) -> None:
        self._duty = duty
        self._division = division
        self._leases = leases
        self._seconds = seconds
        self._counters = counters
        self._stopping = stopping
        self._monotonic = monotonic
        self.name = duty.name
        self.seen = monotonic()
        self._lease: LeaderLease | None = None
        self._taken = 0.0
        self._due = 0.0
        #: When we last held a part of a divided duty, or might have held it first.
        self._without = monotonic()

    def run(self) -> None:
        """Take turns until stopped."""
        failures = 0
        while not self._stopping.is_set():
            self.seen = self._monotonic()
            try:
                pause = self._once()
                failures = 0
            except BaseException as error:  # noqa: BLE001 - whatever it is, the duty goes on later
                failures += 1
                pause = backoff(failures - 1, base=FIRST_PAUSE, cap=LONGEST_PAUSE)
                self._counters.add(f"failures.{self._duty.name}.{type(error).__name__}")
                log.warning("duty failed", duty=self._duty.name, error=type(error).__name__)
                if failures % PATIENCE == 0:
                    self._step_down()
            self._stopping.wait(pause)
        self._step_down()

    def _once(self) -> float:
        """Take one turn where we lead; return the seconds to wait afterwards."""
        if self.held() and self._division is not None and self._division.cede():
            self._step_down(ceded=True)
            return self._seconds / 3
        if not self.held() and not self._take():
            return self._seconds / 3
        # Woken in time to renew, however seldom the duty has work.
        longest = self._seconds / 3
        early = self._due - self._monotonic()
        if early > 0:
            return min(early, longest)
        more = self._duty.turn(self)
        self._counters.add(f"turns.{self._duty.name}")
        if more:
            return 0.0
        self._due = self._monotonic() + self._duty.every
        return min(self._duty.every, longest)

    def held(self) -> bool:
        """Whether we still lead; see `Leader`."""
        if self._lease is None or self._stopping.is_set():
            return False
        asked = self._monotonic()
        if asked - self._taken < self._seconds / 3:
            return True
        try:
            renewed = self._leases.renew(self._lease)
        except SealwaxError:
            # Ours until it ends, renewed or not.
            return self._monotonic() - self._taken < self._seconds
        self._lease, self._taken = renewed, asked
        if renewed is None:
            self._let_go()
            self._counters.add(f"lost.{self._duty.name}")
            log.warning("lead lost", duty=self._duty.name)
        return renewed is not None

    def _take(self) -> bool:
        if self._stopping.is_set():
            return False
        if self._lease is not None:
            # It ended while the control table could not be asked.
            self._lease = None
            self._let_go()
        asked = self._monotonic()
        beyond = asked - self._without > LONG_WITHOUT * self._seconds
        if self._division is not None and not self._division.reserve(beyond=beyond):
            return False
        try:
            self._lease, self._taken = self._leases.take(self._duty.name), asked
        finally:
            if self._lease is None and self._division is not None:
                self._division.release()
        if self._lease is not None:
            self._due = 0.0
            log.info("lead taken", duty=self._duty.name, fence=self._lease.fence)
        return self._lease is not None

    def _let_go(self, *, ceded: bool = False) -> None:
        self._without = self._monotonic()
        if self._division is not None and not ceded:
            self._division.release()

    def _step_down(self, *, ceded: bool = False) -> None:
        lease, self._lease = self._lease, None
        if lease is None:
            return
        self._let_go(ceded=ceded)
        try:
            self._leases.give_back(lease)
        except SealwaxError as error:
            # It ends by itself.
            log.warning("lead not given back", duty=self._duty.name, error=type(error).__name__)
