"""Leases: kept while work lasts, ending soon after a worker does."""

from __future__ import annotations

import signal
import time

import pytest
from support.sqs_lab import Lab, message
from support.waiting import wait_for


@pytest.mark.long
def test_a_task_longer_than_its_lease_runs_once_and_held_ones_wait(lab: Lab) -> None:
    lab.start_worker(concurrency=1, lease=2, conf={"worker_prefetch_multiplier": 20})
    lab.send("sleep", 7)
    wait_for(lambda: lab.notes("start"))
    lab.send_all([message("ok", number, queue=lab.queue) for number in range(15)])
    wait_for(lambda: len(lab.notes("ok")) == 15 and lab.empty(), seconds=30)
    assert len(lab.notes("start")) == 1
    assert {note["receives"] for note in lab.notes("ok")} == {1}


def test_a_killed_worker_loses_nothing(lab: Lab) -> None:
    worker = lab.start_worker(lease=3)
    lab.send("sleep", 3)
    wait_for(lambda: lab.notes("start"))
    worker.send_signal(signal.SIGKILL)
    worker.wait(5)
    killed = time.time()
    lab.start_worker(lease=3)
    from_then = max(time.time(), killed + 3)
    wait_for(lambda: len(lab.notes("start")) == 2, seconds=60)
    assert lab.notes("start")[-1]["at"] - from_then < 15
    wait_for(lambda: lab.notes("end") and lab.empty(), seconds=60)


@pytest.mark.long
def test_sigterm_gives_back_what_is_held_and_finishes_what_runs(lab: Lab) -> None:
    worker = lab.start_worker(concurrency=1, conf={"worker_prefetch_multiplier": 51})
    lab.send("sleep", 6)
    wait_for(lambda: lab.notes("start"))
    lab.send_all([message("ok", number, queue=lab.queue) for number in range(50)])
    wait_for(lambda: lab.depth() == (0, 51))
    worker.send_signal(signal.SIGTERM)
    stopped = time.monotonic()
    wait_for(lambda: lab.depth()[0] == 50, seconds=10)
    assert time.monotonic() - stopped < 10  # their leases last longer
    assert worker.wait(20) == 0
    assert len(lab.notes("end")) == 1
    assert lab.depth() == (50, 0)
    assert not lab.notes("ok")
    lab.start_worker()
    wait_for(lambda: len(lab.notes("ok")) == 50 and lab.empty())
    assert {note["receives"] for note in lab.notes("ok")} == {2}


def test_sigterm_with_a_threads_pool_gives_back_what_is_held(lab: Lab) -> None:
    worker = lab.start_worker(
        concurrency=1, pool="threads", conf={"worker_prefetch_multiplier": 11}
    )
    lab.send("sleep", 4)
    wait_for(lambda: lab.notes("start"))
    lab.send_all([message("ok", number, queue=lab.queue) for number in range(10)])
    wait_for(lambda: lab.depth() == (0, 11))
    worker.send_signal(signal.SIGTERM)
    wait_for(lambda: lab.depth()[0] == 10, seconds=3)
    worker.wait(20)
    assert lab.depth() == (10, 0)
    assert len(lab.notes("end")) == 1


@pytest.mark.long
def test_a_child_for_each_task_never_hangs(lab: Lab) -> None:
    lab.start_worker("--max-tasks-per-child=1", concurrency=2)
    lab.send_all([message("ok", number, queue=lab.queue) for number in range(50)])
    wait_for(lambda: len(lab.notes("ok")) == 50 and lab.empty(), seconds=90)
    assert len({note["pid"] for note in lab.notes("ok")}) == 50
