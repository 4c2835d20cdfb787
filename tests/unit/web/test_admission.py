"""Admission asks beside the requests, which go by its last answer meanwhile."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

from support.waiting import wait_for

from sealwax.ledger import JobState, LedgerError
from sealwax.settings import Settings
from sealwax.web.admission import BELIEVED, OLDEST, RETRY_AFTER, Admission


class Readings:
    """A ledger whose readings wait for a permission each, and tell how long a job has waited."""

    def __init__(self) -> None:
        self.waited = 0.0
        self.begun = 0
        self.open = threading.Event()
        self.open.set()
        self.fails = False

    def watching(self, *_: Any, **__: Any) -> Any:
        self.begun += 1
        assert self.open.wait(60)
        if self.fails:
            raise LedgerError
        entry = SimpleNamespace(since=-self.waited, state=JobState.ACCEPTED)
        return SimpleNamespace(entries=[entry], after=None)


def admission_of(readings: Any, steps: list[float]) -> Admission:
    settings = Settings(lanes={"default": {"max_wait": 60.0}})
    return Admission(settings, readings, clock=lambda: 0.0, monotonic=lambda: steps[0])


def test_no_request_waits_for_a_reading_while_there_is_an_answer() -> None:
    readings, steps = Readings(), [0.0]
    admission = admission_of(readings, steps)
    assert admission.refused("default") is None
    readings.open.clear()
    steps[0] += BELIEVED
    # The reading hangs: were it this thread's, the call would not return.
    assert admission.refused("default") is None
    wait_for(lambda: readings.begun == 2, seconds=30, what="a reading")
    assert admission.refused("default") is None
    assert readings.begun == 2  # one at a time
    readings.waited = 61.0
    readings.open.set()
    wait_for(lambda: admission.refused("default") == RETRY_AFTER, seconds=30, what="the new answer")


def test_an_old_answer_refuses_nobody() -> None:
    readings, steps = Readings(), [0.0]
    admission = admission_of(readings, steps)
    readings.waited = 61.0
    assert admission.refused("default") == RETRY_AFTER
    readings.waited = 0.0
    steps[0] += OLDEST
    assert admission.refused("default") is None
    assert readings.begun == 2


def test_nobody_else_waits_for_who_finds_out_and_nobody_is_refused_meanwhile() -> None:
    readings, steps = Readings(), [0.0]
    admission = admission_of(readings, steps)
    readings.waited = 61.0
    readings.open.clear()
    first = threading.Thread(target=admission.refused, args=("default",), daemon=True)
    first.start()
    wait_for(lambda: readings.begun == 1, seconds=30, what="the first reading")
    assert admission.refused("default") is None
    readings.open.set()
    first.join(30)
    assert admission.refused("default") == RETRY_AFTER


def test_a_ledger_that_does_not_answer_refuses_nobody() -> None:
    readings, steps = Readings(), [0.0]
    admission = admission_of(readings, steps)
    readings.waited = 61.0
    assert admission.refused("default") == RETRY_AFTER
    readings.fails = True
    steps[0] += BELIEVED
    wait_for(lambda: admission.refused("default") is None, seconds=30, what="admission")
