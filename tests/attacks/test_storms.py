"""Storms at DynamoDB: no healthy job is doubled, suspected or charged by them.

A real worker, DynamoDB behind a proxy that throttles it, answers slowly or
loses its answers. Nothing is killed or paused, so that whatever runs twice does
so by the worker's own fault.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from support.fault_proxy import Fault, FaultProxy
from support.waiting import wait_for
from support.worker_lab import Worker, WorkerLab, keep_variables

from sealwax.ledger import JobState
from sealwax.settings import Settings

#: Waits for leases and back-offs, most of its time.
pytestmark = pytest.mark.long

TABLE_CALLS = ("GetItem", "PutItem", "UpdateItem", "Query", "BatchGetItem", "BatchWriteItem")

#: Share of the calls that are throttled.
THROTTLED = 0.6

QUICK_JOBS, LONG_JOBS = 24, 4


class Storm:
    """A lab whose workers reach AWS through a proxy; the test itself does not."""

    def __init__(self, lab: WorkerLab, proxy: FaultProxy) -> None:
        self.lab = lab
        self.proxy = proxy

    def start(self) -> Worker:
        """Start a worker and wait until it receives."""
        direct = os.environ["AWS_ENDPOINT_URL"]
        os.environ["AWS_ENDPOINT_URL"] = self.proxy.url
        try:
            worker = self.lab.start()
        finally:
            os.environ["AWS_ENDPOINT_URL"] = direct
        wait_for(lambda: self.proxy.seen["ReceiveMessage"] > 0, seconds=120, what="a receive")
        return worker

    def submit(self) -> list[str]:
        """Submit quick jobs, and some that outlive their first lease."""
        long = [self.lab.submit("lost.long", seconds=9) for _ in range(LONG_JOBS)]
        return long + [self.lab.submit("lost.long", seconds=0.05) for _ in range(QUICK_JOBS)]

    def judge(self, jobs: list[str]) -> None:
        """Wait for all ends; no effect was doubled, and nothing held against a job."""
        for job_id in jobs:
            assert self.lab.wait(job_id, seconds=300).state is JobState.SUCCEEDED
        ended = Counter(note["job"] for note in self.lab.notes("end"))
        assert {job: ended[job] for job in jobs} == dict.fromkeys(jobs, 1)
        entries = [self.lab.entry(job_id) for job_id in jobs]
        assert {(e.attempts, e.suspicions, e.crashes) for e in entries} == {(1, 0, 0)}


@pytest.fixture
def storm(
    provisioned: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Storm]]:
    """Return the maker of a storm's lab."""
    keep_variables(monkeypatch)
    made: list[Storm] = []

    def make(**lane: int) -> Storm:
        lab = WorkerLab.make(provisioned, tmp_path, **lane)
        made.append(Storm(lab, FaultProxy(os.environ["AWS_ENDPOINT_URL"])))
        return made[-1]

    yield make
    for each in made:
        each.lab.close()
        each.proxy.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_throttling_doubles_suspects_and_charges_no_job(
    storm: Callable[..., Storm], seed: int
) -> None:
    made = storm(concurrency=4, lease=6)
    made.start()
    dice = random.Random(seed)
    made.proxy.break_with(
        Fault(
            "error",
            status=400,
            code="ThrottlingException",
            operations=TABLE_CALLS,
            chance=lambda: dice.random() < THROTTLED,
        )
    )
    jobs = made.submit()
    made.judge(jobs)
    assert made.proxy.faulted["UpdateItem"] > len(jobs)


def test_a_slow_ledger_loses_no_lease(storm: Callable[..., Storm]) -> None:
    made = storm(concurrency=8, lease=30)
    # Received at once, so that all leases are due at once.
    jobs = [made.lab.submit("lost.long", seconds=40, checks=True) for _ in range(8)]
    made.start()
    for job_id in jobs:
        wait_for(partial(made.lab.started, job_id, 1), seconds=120, what="all eight run")
    made.proxy.break_with(Fault("slow", seconds=3, operations=("UpdateItem",)))
    made.judge(jobs)
    assert len(made.lab.notes("start")) == len(jobs)


def test_lost_answers_double_suspect_and_charge_no_job(storm: Callable[..., Storm]) -> None:
    made = storm(concurrency=4, lease=6)
    made.start()
    dice = random.Random(4)
    made.proxy.break_with(
        Fault("lost", operations=("UpdateItem",), chance=lambda: dice.random() < THROTTLED)
    )
    jobs = made.submit()
    for job_id in jobs:
        assert made.lab.wait(job_id, seconds=300).state is JobState.SUCCEEDED
    ended = Counter(note["job"] for note in made.lab.notes("end"))
    assert {job: ended[job] for job in jobs} == dict.fromkeys(jobs, 1)
    entries = [made.lab.entry(job_id) for job_id in jobs]
    assert {(e.suspicions, e.crashes) for e in entries} == {(0, 0)}


def test_an_outage_longer_than_the_lease_doubles_nothing(storm: Callable[..., Storm]) -> None:
    made = storm(concurrency=4, lease=4)
    made.start()
    jobs = [made.lab.submit("lost.long", seconds=3) for _ in range(4)]
    for job_id in jobs:
        wait_for(partial(made.lab.started, job_id, 1), seconds=120, what="all four run")
    made.proxy.break_with(Fault("error", status=500, code="InternalServerError",
                                operations=TABLE_CALLS))  # fmt: skip
    for job_id in jobs:
        wait_for(lambda job_id=job_id: made.lab.notes("end", job_id), seconds=60)  # type: ignore[misc]
    # Both leases' time is over: the ledger's, and what SQS was told before.
    seen = made.proxy.faulted["UpdateItem"]
    wait_for(lambda: made.proxy.faulted["UpdateItem"] >= seen + 40, seconds=120)
    made.proxy.heal()
    made.judge(jobs)
