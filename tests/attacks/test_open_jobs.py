"""Open jobs in great number cost the sweep next to nothing unless they stand still."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.lab_dynamodb import LabTable
from support.ledger import Clock, new_job, numbered
from support.letters import EVIDENCE

from sealwax.aws.shards import SHARDS, sharded
from sealwax.control.table import ControlTable
from sealwax.ledger import Ledger, open_watch
from sealwax.provision import desired_state
from sealwax.settings import Settings
from sealwax.steward.sweep import Finding, Sweep
from sealwax.steward.sweep_notes import SweepNotes

SETTINGS = Settings()
TABLES = {t.name.rpartition("-")[2]: t for t in desired_state(SETTINGS).tables}
AFTER, EVERY = 600.0, 60.0
DAY = 86_400.0

#: Jobs that were just accepted, and jobs that stand still.
YOUNG, STILL = 3_000, 5

#: Entries that one BatchGetItem reads.
BATCH = 100


class Swept:
    """A ledger, and the sweep of all of its shards as stewards do it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.jobs = LabTable(TABLES["jobs"], clock=clock, limit=None)
        self.control = LabTable(TABLES["control"], clock=clock, limit=None)
        self.ledger = Ledger(self.jobs, TABLES["jobs"].name, keep=100, clock=clock)
        self.notes = SweepNotes(
            ControlTable(cast("Any", self.control), TABLES["control"].name), clock
        )
        nothing = cast("Any", None)
        archive = SimpleNamespace(of_job=lambda _: [], claiming=lambda _: [])
        outbox = cast("Any", SimpleNamespace(names=list))
        self.sweep = Sweep(
            SETTINGS, self.ledger, outbox, cast("Any", SimpleNamespace(archive=archive)), nothing,
            evidence=EVIDENCE, fair_group=str, after=AFTER, clock=clock,
        )  # fmt: skip
        self.known = 0

    def accept(self, count: int, first: int = 0, **more: Any) -> None:
        """Accept jobs; the ones after the first as copies of it, since there are many."""
        for number in range(first, first + min(count, STILL)):
            self.ledger.accept(replace(new_job(self.clock, numbered(number)), **more))
        made = self.jobs.items[numbered(first)]
        for number in range(first + STILL, first + count):
            job = numbered(number)
            watch = {"S": sharded(open_watch("default"), job, SHARDS)}
            self.jobs._store(job, made | {"id": {"S": job}, "watch": watch})

    def once(self) -> list[Finding]:
        """Sweep all shards once; the tables' counts are of this pass."""
        self.jobs.calls.clear()
        self.control.calls.clear()
        self.known = 0
        found: list[Finding] = []
        outboxed = self.sweep.outbox_names()
        for shard in range(self.sweep.shards):
            for look in self.sweep.shard(
                "default", shard, self.notes, outboxed, every=EVERY, repair=False
            ):
                found += look.found
                self.known += sum(look.known.values())
        return found


@pytest.mark.long
def test_a_sweep_reads_no_job_that_is_younger_than_it_may_stand_still():
    clock = Clock()
    swept = Swept(clock)
    swept.accept(STILL)
    clock.now += AFTER + 1.0
    swept.accept(YOUNG, first=STILL)
    found = swept.once()
    assert sorted(each.job for each in found) == [numbered(number) for number in range(STILL)]
    assert swept.jobs.calls["query"] == SHARDS
    assert swept.jobs.calls["batch_get_item"] <= STILL
    # All are found once they are old enough, at the very edge and beyond it.
    clock.now += AFTER
    assert len(swept.once()) == STILL
    clock.now += 1.0
    assert len(swept.once()) == YOUNG


def test_a_job_that_moves_in_time_is_read_and_is_no_finding():
    clock = Clock()
    swept = Swept(clock)
    swept.accept(1)
    clock.now += AFTER - 10.0
    assert swept.ledger.claim(numbered(0), token="t", lease=30, tenant="ab" * 16)
    clock.now += 20.0
    assert swept.once() == []
    clock.now += AFTER + 30.0
    (found,) = swept.once()
    assert found.job == numbered(0)


@pytest.mark.long
@pytest.mark.parametrize("open_jobs", [1_000, 10_000])
def test_a_pass_costs_by_what_stands_still_and_not_by_what_is_open(open_jobs):
    clock = Clock()
    swept = Swept(clock)
    # Old, open and well: none of them is to start before tomorrow.
    swept.accept(open_jobs, not_before=clock.now + DAY)
    swept.accept(STILL, first=open_jobs)
    clock.now += AFTER + 1.0
    units = dict(swept.jobs.units)
    # The first look at them is one look at each.
    assert len(swept.once()) == STILL
    assert swept.jobs.calls["batch_get_item"] <= open_jobs / BATCH + SHARDS
    # Afterwards a page of keys and a page of notes for each shard, however many are open.
    clock.now += EVERY
    assert len(swept.once()) == STILL
    assert swept.jobs.calls["query"] == SHARDS
    assert swept.jobs.calls["batch_get_item"] <= STILL
    assert swept.control.calls["query"] == SHARDS
    assert swept.control.calls["put_item"] <= STILL
    # Not one write to the ledger or its indexes.
    assert dict(swept.jobs.units) == units


def test_a_lost_message_is_found_in_time_however_often_its_job_moved_before():
    clock = Clock()
    swept = Swept(clock)
    swept.accept(50)
    alive = numbered(7)
    moved = clock.now
    for _ in range(40):
        clock.now += AFTER / 3
        swept.ledger.claim(alive, token="t", lease=1.0, tenant="ab" * 16)
        swept.ledger.renew(alive, token="t", lease=1.0)
        moved = clock.now
        assert alive not in {each.job for each in swept.once()}
    while alive not in {each.job for each in swept.once()}:
        clock.now += EVERY
    assert clock.now - moved <= 1.0 + AFTER + EVERY + 1.0


def test_what_stands_still_is_looked_at_less_and_less_and_is_counted_all_the_while():
    clock = Clock()
    swept = Swept(clock)
    swept.accept(1)
    clock.now += AFTER + 1.0
    found = []
    for second in range(0, int(4 * AFTER), int(EVERY)):
        looked = swept.once()
        found += [second for _ in looked]
        assert len(looked) + swept.known == 1
        clock.now += EVERY
    # Twice as long each time, and never longer than it takes to find a job.
    apart = [later - earlier for earlier, later in pairwise(found)]
    assert apart == [60, 120, 240, 480, 600, 600]
    swept.ledger.claim(numbered(0), token="t", lease=30, tenant="ab" * 16)
    swept.ledger.succeed(numbered(0), token="t", result=None)
    assert swept.once() == []
    assert swept.known == 0
    assert swept.control.items == {}


def test_a_replayed_job_is_found_although_younger_ones_were_seen_before():
    clock = Clock()
    swept = Swept(clock)
    swept.accept(3)
    ledger, job = swept.ledger, numbered(1)
    clock.now += AFTER + 1.0
    assert len(swept.once()) == 3
    ledger.claim(job, token="t", lease=30, tenant="ab" * 16)
    ledger.die(job, token="t", reason="rejected", cause="x", error="E")
    clock.now += EVERY
    assert len(swept.once()) == 2
    assert ledger.replay(job, generation=0)
    clock.now += AFTER + 1.0
    assert job in {each.job for each in swept.once()}


def test_notes_that_lie_or_cannot_be_read_hide_no_job_for_longer_than_a_day():
    clock = Clock()
    swept = Swept(clock)
    swept.accept(1, not_before=clock.now + 3 * DAY)
    clock.now += AFTER + 1.0
    assert swept.once() == []
    (item,) = swept.control.items.values()
    packed = item["notes"]["B"]
    swept.accept(1, first=1)
    clock.now += AFTER + 1.0
    assert len(swept.once()) == 1
    for item in swept.control.items.values():
        # A look in a hundred years, and rubbish.
        item["notes"] = {"B": packed[:16] + b"\0\0\0\1" * 2 + b"\0"}
    assert len(swept.once()) == 1
    for item in swept.control.items.values():
        item["notes"] = {"B": b"rubbish"}
    assert len(swept.once()) == 1
