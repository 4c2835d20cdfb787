"""Background work: soon or later, on few threads, whatever one piece of it raises."""

from __future__ import annotations

import logging
import threading

import pytest

from sealwax.transport.background import Background


def test_work_that_raises_is_logged_and_the_next_is_done(caplog: pytest.LogCaptureFixture) -> None:
    background = Background(threads=1)
    done: list[int] = []

    def fail() -> None:
        raise ValueError("canary")

    with caplog.at_level(logging.ERROR):
        background.run(fail)
        background.run(done.append, 1)
        assert background.flush(10)
    assert done == [1]
    assert "Background work failed" in caplog.text


def test_later_work_waits_its_time_and_is_not_flushed() -> None:
    background = Background()
    late = threading.Event()
    background.run(late.set, delay=3_600)
    soon = threading.Event()
    background.run(soon.set, delay=0.01)
    assert soon.wait(10)
    assert background.flush(10)
    assert not late.is_set()


def test_no_more_threads_work_than_were_allowed() -> None:
    background = Background(threads=2)
    lock, release = threading.Lock(), threading.Event()
    at_once = [0, 0]

    def work() -> None:
        with lock:
            at_once[0] += 1
            at_once[1] = max(at_once)
        release.wait(10)
        with lock:
            at_once[0] -= 1

    for _ in range(6):
        background.run(work)
    assert not background.flush(0.05)
    release.set()
    assert background.flush(10)
    assert at_once[1] <= 2
