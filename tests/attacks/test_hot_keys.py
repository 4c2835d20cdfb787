"""One lane's load throttles no key: a throttled index refuses every lane's writes."""

from __future__ import annotations

import secrets

import pytest
from support.lab_dynamodb import UNITS, LabTable
from support.ledger import Clock, new_job

from sealwax.aws.shards import SHARDS
from sealwax.ledger import Ledger, LedgerUnreachable
from sealwax.provision import desired_state
from sealwax.settings import Settings

JOBS = next(t for t in desired_state(Settings()).tables if t.name.endswith("-jobs"))

#: Jobs accepted in a second, all of one lane and one tenant, and seconds of it.
RATE, SECONDS = 2_000, 2


def run(shards: int) -> tuple[LabTable, int]:
    """Accept, claim and end jobs at the rate; return the table and how many writes failed."""
    clock = Clock()
    clock.now = float(int(clock.now))
    begun = clock.now
    table = LabTable(JOBS, clock=clock)
    ledger = Ledger(table, JOBS.name, keep=100, clock=clock, shards=shards)
    running: list[str] = []
    refused = 0
    for number in range(RATE * SECONDS):
        clock.now = begun + number / RATE
        job = secrets.token_hex(16)
        try:
            ledger.accept(new_job(clock, job))
            running.append(job)
            if len(running) > RATE // 2:
                ended = running.pop(0)
                ledger.claim(ended, token="t", lease=30, tenant="ab" * 16)
                if number % 20:
                    ledger.succeed(ended, token="t", result=None)
                else:
                    # A death is two writes of `by-watch`: out of the open ones, into the dead.
                    ledger.die(ended, token="t", reason="rejected", cause="x", error="E")
        except LedgerUnreachable:
            refused += 1
    return table, refused


def listed(table: LabTable) -> set[str]:
    """Return the jobs that the index of open and dead ones has."""
    parts = table.parts("by-watch").values()
    return {job for part in parts for job in part}


@pytest.mark.long
def test_two_thousand_jobs_a_second_of_one_lane_and_tenant_keep_every_key_under_its_limit():
    table, refused = run(SHARDS)
    assert refused == 0
    assert not table.throttled
    # Both ends of every job went through the indexes, and were counted.
    written = sum(units for (place, _, _), units in table.units.items() if place == "by-watch")
    assert written > 2 * RATE * (SECONDS - 1)
    assert RATE * 2 / SHARDS * 0.9 < table.hottest("by-watch") < UNITS
    assert RATE / SHARDS * 0.9 < table.hottest("by-tenant") < UNITS / 2
    assert table.hottest("table") <= 3
    assert listed(table) == {job for job, item in table.items.items() if "watch" in item}


def test_one_key_a_lane_and_tenant_throttles_the_table():
    table, refused = run(1)
    assert refused > RATE / 2
    assert set(table.throttled) == {"by-watch", "by-tenant"}
    assert table.hottest("by-watch") == UNITS
    # What an index refuses is not written anywhere.
    assert listed(table) == {job for job, item in table.items.items() if "watch" in item}
