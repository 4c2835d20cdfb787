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

from sealwax.worker.isolation import JobIsolation


@pytest.fixture
def isolation(tmp_path: Path) -> JobIsolation:
    return JobIsolation(tmp_path)


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
