from __future__ import annotations

import threading
import time

from support.waiting import wait_for

from sealwax.control import ControlUnreachable
from sealwax.steward import Leader, Steward
from sealwax.steward.leadership import LeaderLease


class FakeLeases:
    def __init__(self, *, free: bool = True) -> None:
        self.free = free
        self.lost = False
        self.unreachable = False
        self.given_back = threading.Event()
        self.fence = 0

    def take(self, name: str) -> LeaderLease | None:
        if self.unreachable:
            raise ControlUnreachable
        if not self.free:
            return None
        self.fence += 1
        return LeaderLease(name, self.fence, 0.0)

    def renew(self, lease: LeaderLease) -> LeaderLease | None:
        if self.unreachable:
            raise ControlUnreachable
        return None if self.lost else lease

    def give_back(self, lease: LeaderLease) -> None:
        self.given_back.set()


class Work:
    name = "work"

    def __init__(self, *, every: float = 0.0, error: Exception | None = None) -> None:
        self.every = every
        self.error = error
        self.turns = 0
        self.seen: list[bool] = []

    def turn(self, lead: Leader) -> bool:
        self.turns += 1
        self.seen.append(lead.held())
        if self.error is not None:
            raise self.error
        return False


def test_a_leader_takes_turns_and_gives_the_lease_back_when_stopped():
    leases, work = FakeLeases(), Work(every=0.01)
    steward = Steward([work], leases, lease=60)
    steward.start()
    wait_for(lambda: work.turns > 2)
    assert steward.stop()
    assert leases.given_back.is_set()
    assert all(work.seen[:2])


def test_without_the_lease_no_turn_starts():
    leases, work = FakeLeases(free=False), Work()
    steward = Steward([work], leases, lease=0.03)
    steward.start()
    leases.free = wait_for(lambda: True)
    wait_for(lambda: work.turns)
    assert leases.fence
    assert steward.stop()


def test_a_failing_duty_is_counted_and_steps_down_and_goes_on():
    leases, work = FakeLeases(), Work(error=ValueError())
    steward = Steward([work], leases, lease=60)
    steward.start()
    wait_for(lambda: work.turns >= 3)
    wait_for(leases.given_back.is_set)
    assert steward.counters.snapshot()["failures.work.ValueError"] >= 3
    work.error = None
    wait_for(lambda: leases.fence >= 2)
    assert steward.stop()


def test_a_lost_lease_ends_the_lead():
    leases, work = FakeLeases(), Work(every=0.01)
    steward = Steward([work], leases, lease=0.1)
    steward.start()
    wait_for(lambda: work.turns)
    leases.free, leases.lost = False, True
    wait_for(lambda: steward.counters.snapshot().get("lost.work"))
    assert steward.stop()


def test_an_unreachable_control_table_ends_no_thread():
    leases, work = FakeLeases(), Work(every=0.01)
    leases.unreachable = True
    steward = Steward([work], leases, lease=60)
    steward.start()
    wait_for(lambda: steward.counters.snapshot().get("failures.work.ControlUnreachable"))
    assert not work.turns
    leases.unreachable = False
    wait_for(lambda: work.turns)
    assert steward.stop()


def test_a_duty_waits_as_long_as_it_says_though_its_lease_is_renewed():
    leases, work = FakeLeases(), Work(every=3600)
    steward = Steward([work], leases, lease=0.05)
    steward.start()
    wait_for(lambda: work.turns)
    threading.Event().wait(0.3)
    assert steward.stop()
    assert work.turns == 1


def test_whatever_a_turn_raises_its_thread_goes_on():
    class Exits(Work):
        def turn(self, lead: Leader) -> bool:
            self.turns += 1
            if self.turns == 1:
                raise SystemExit(3)
            return False

    work = Exits(every=0.01)
    steward = Steward([work], FakeLeases(), lease=60)
    steward.start()
    wait_for(lambda: work.turns > 1)
    assert steward.ended() == []
    assert steward.stop()


def test_one_duty_that_fails_or_hangs_holds_up_no_other_and_is_told():
    ahead = [0.0]
    release = threading.Event()

    class Hangs(Work):
        name = "hangs"

        def turn(self, lead: Leader) -> bool:
            self.turns += 1
            release.wait(60)
            return False

    hangs, fails, works = Hangs(), Work(error=ValueError()), Work(every=0.01)
    fails.name, works.name = "fails", "works"
    steward = Steward(
        [hangs, fails, works],
        FakeLeases(),
        lease=1e9,
        monotonic=lambda: time.monotonic() + ahead[0],
    )
    steward.start()
    wait_for(lambda: hangs.turns and fails.turns)
    assert steward.stuck() == []
    ahead[0] = 1_000.0
    wait_for(lambda: works.turns > 1)
    wait_for(lambda: "works" not in steward.stuck())
    assert "hangs" in steward.stuck()
    release.set()
    assert steward.stop()
