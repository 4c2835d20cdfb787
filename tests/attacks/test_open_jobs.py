"""Open jobs in great number cost the sweep nothing while they are young."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.lab_dynamodb import LabTable
from support.ledger import Clock, new_job
from support.letters import EVIDENCE

from sealwax.aws.shards import SHARDS
from sealwax.ledger import Ledger
from sealwax.provision import desired_state
from sealwax.settings import Settings
from sealwax.steward.sweep import Finding, Sweep

SETTINGS = Settings()
JOBS = next(t for t in desired_state(SETTINGS).tables if t.name.endswith("-jobs"))
AFTER = 600.0

#: Jobs that were just accepted, and jobs that stand still.
YOUNG, STILL = 3_000, 5


def swept(sweep: Sweep) -> list[Finding]:
    found: list[Finding] = []
    after: str | None = None
    while True:
        page, after = sweep.page("default", after, {}, repair=False)
        found += page
        if after is None:
            return found


def sweep_of(ledger: Ledger, clock: Clock) -> Sweep:
    archive = SimpleNamespace(of_job=lambda _: [], claiming=lambda _: [])
    letters = cast("Any", SimpleNamespace(archive=archive))
    nothing = cast("Any", None)
    return Sweep(
        SETTINGS, ledger, nothing, letters, nothing,
        evidence=EVIDENCE, fair_group=str, after=AFTER, clock=clock,
    )  # fmt: skip


@pytest.mark.long
def test_a_sweep_reads_no_job_that_is_younger_than_it_may_stand_still():
    clock = Clock()
    table = LabTable(JOBS, clock=clock, limit=None)
    ledger = Ledger(table, JOBS.name, keep=100, clock=clock)
    for number in range(STILL):
        ledger.accept(new_job(clock, f"{number:032x}"))
    clock.now += AFTER + 1.0
    for number in range(YOUNG):
        ledger.accept(new_job(clock, f"{STILL + number:032x}"))
    table.calls.clear()
    found = swept(sweep_of(ledger, clock))
    assert sorted(each.job for each in found) == [f"{number:032x}" for number in range(STILL)]
    assert table.calls["query"] <= 2 * SHARDS
    assert table.calls["batch_get_item"] == 1
    # All are found once they are old enough, at the very edge and beyond it.
    clock.now += AFTER
    assert len(swept(sweep_of(ledger, clock))) == STILL
    clock.now += 0.5
    assert len(swept(sweep_of(ledger, clock))) == STILL + YOUNG


def test_a_job_that_moves_in_time_is_read_and_is_no_finding():
    clock = Clock()
    table = LabTable(JOBS, clock=clock, limit=None)
    ledger = Ledger(table, JOBS.name, keep=100, clock=clock)
    ledger.accept(new_job(clock, "1" * 32))
    clock.now += AFTER - 10.0
    assert ledger.claim("1" * 32, token="t", lease=30, tenant="ab" * 16)
    clock.now += 20.0
    assert swept(sweep_of(ledger, clock)) == []
    clock.now += AFTER + 30.0
    (found,) = swept(sweep_of(ledger, clock))
    assert found.job == "1" * 32
