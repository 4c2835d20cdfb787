"""Who runs together and who runs alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from support.waiting import wait_for

from sealwax.worker.isolation import OPEN_SHARE, JobIsolation


@pytest.fixture
def isolation(tmp_path: Path) -> JobIsolation:
    # No time passes while it is closed, so that it need not stay open.
    return JobIsolation(tmp_path, monotonic=lambda: 100.0)


def test_many_share_the_lock(isolation: JobIsolation) -> None:
    with isolation.shared(wait=0) as first, isolation.shared(wait=0) as second:
        assert first
        assert second


def test_who_is_alone_keeps_everybody_out(isolation: JobIsolation) -> None:
    with isolation.exclusive(wait=0) as empty:
        assert empty
        with isolation.shared(wait=0) as here, isolation.exclusive(wait=0) as other:
            assert not here
            assert not other
    with isolation.shared(wait=0) as here:
        assert here


def test_nobody_is_alone_among_others(isolation: JobIsolation) -> None:
    with isolation.shared(wait=0), isolation.exclusive(wait=0.05) as empty:
        assert not empty
    with isolation.exclusive(wait=0) as empty:
        assert empty


def test_who_waits_to_be_alone_lets_nobody_new_in_and_gets_there(isolation: JobIsolation) -> None:
    inside, leave, alone = threading.Event(), threading.Event(), threading.Event()

    def neighbour() -> None:
        with isolation.shared(wait=0):
            inside.set()
            leave.wait(20)

    def loner() -> None:
        with isolation.exclusive(wait=20) as empty:
            if empty:
                alone.set()

    first = threading.Thread(target=neighbour)
    first.start()
    assert inside.wait(20)
    second = threading.Thread(target=loner)
    second.start()

    def shut() -> bool:
        with isolation.shared(wait=0) as here:
            return not here

    wait_for(shut, seconds=20, what="nobody new comes in")
    assert not alone.is_set()
    leave.set()
    assert alone.wait(20)
    first.join()
    second.join()


def _hold(folder: Path, ready: Any) -> None:
    with JobIsolation(folder).exclusive(wait=0):
        ready.set()
        signal.pause()


def test_a_killed_process_leaves_the_lock(isolation: JobIsolation, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready))
    process.start()
    assert ready.wait(60)
    with isolation.shared(wait=0) as here:
        assert not here
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with isolation.shared(wait=0) as here:
        assert here


def test_a_made_lock_is_shared_with_what_this_process_starts() -> None:
    isolation = JobIsolation.make()
    with isolation.exclusive(wait=0) as empty:
        assert empty


class Clock:
    """Monotonic seconds that a test turns."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def closed_for(isolation: JobIsolation, clock: Clock, seconds: float) -> None:
    with isolation.exclusive(wait=0) as empty:
        assert empty
        clock.now += seconds


def test_a_tenth_of_the_time_at_most_is_closed(tmp_path: Path) -> None:
    clock = Clock()
    isolation = JobIsolation(tmp_path, monotonic=clock)
    other = JobIsolation(tmp_path, monotonic=clock)
    assert isolation.open_again() == 0.0
    closed_for(isolation, clock, 4.0)
    assert other.open_again() == 36.0
    for seconds, may in ((0.0, False), (35.9, False), (0.2, True)):
        clock.now += seconds
        with other.exclusive(wait=0) as empty:
            assert empty == may
        with other.shared(wait=0) as here:
            assert here


def test_waiting_for_others_counts_as_closed(tmp_path: Path) -> None:
    isolation = JobIsolation(tmp_path)
    with isolation.shared(wait=0), isolation.exclusive(wait=0.3) as empty:
        assert not empty
    assert 0.2 * OPEN_SHARE < isolation.open_again() <= 2 * OPEN_SHARE
    with isolation.exclusive(wait=0) as empty:
        assert not empty


def test_who_runs_long_is_alone_for_a_while_only(isolation: JobIsolation) -> None:
    opened: list[bool] = []

    def opens() -> None:
        with isolation.shared(wait=0) as here:
            opened.append(here)

    with isolation.exclusive(wait=0, most=0.1, opens=opens) as empty:
        assert empty
        with isolation.shared(wait=60) as here:
            assert here
            assert opened == [False]  # told before anybody came in
        with isolation.exclusive(wait=0) as other:
            assert not other  # it is not empty yet
    with isolation.exclusive(wait=0) as empty:
        assert empty


def test_others_come_in_although_nobody_can_be_told(isolation: JobIsolation) -> None:
    told = threading.Event()
    with isolation.exclusive(wait=0, most=0.1, opens=lambda: told.wait(60)) as empty:
        assert empty
        with isolation.shared(wait=30) as here:
            assert here
    told.set()


def test_who_died_alone_had_the_worker_closed_until_then_at_the_longest(tmp_path: Path) -> None:
    clock = Clock()
    isolation = JobIsolation(tmp_path, monotonic=clock)
    (tmp_path / "gate").write_text("1000.0")  # begun, and never ended
    clock.now += 2.0
    assert isolation.open_again() == 18.0
    clock.now += 1_000.0
    assert isolation.open_again() == 0.0
    closed_for(isolation, clock, 1.0)
    assert isolation.open_again() == 9.0
