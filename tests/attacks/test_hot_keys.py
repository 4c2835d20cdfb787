"""One lane's load throttles no key: a throttled index refuses every lane's writes."""

from __future__ import annotations

import secrets
from typing import Any, cast

import pytest
from support.lab_dynamodb import UNITS, LabTable
from support.ledger import Clock, new_job

from sealwax.aws.dynamodb import typed
from sealwax.aws.shards import SHARDS
from sealwax.deadletters.archive import Archive
from sealwax.deadletters.errors import LettersUnreachable
from sealwax.deadletters.groups import LetterGroups
from sealwax.deadletters.letter import Letter, LetterState, LetterText
from sealwax.deadletters.table import LettersTable
from sealwax.ledger import Ledger, LedgerUnreachable
from sealwax.provision import desired_state
from sealwax.settings import Settings

TABLES = {t.name.rpartition("-")[2]: t for t in desired_state(Settings()).tables}
JOBS, LETTERS = TABLES["jobs"], TABLES["letters"]

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


#: Seconds in which letters of one group are archived at the rate, and how many at a time.
LETTER_SECONDS, BATCH = 1, 10


class InTable:
    """Bodies that fit beside their letters."""

    def item(self, letter: Letter, text: LetterText) -> dict[str, Any]:
        item_id, rest = letter.id.split(".")
        return typed({"id": item_id, "sort": f"body.{rest}", "body": text.body})


def archived(shards: int) -> tuple[LabTable, int]:
    """Archive letters of one group at the rate; return the table and how many batches failed."""
    clock = Clock()
    clock.now = float(int(clock.now))
    begun = clock.now
    lab = LabTable(LETTERS, clock=clock)
    table = LettersTable(cast("Any", lab), LETTERS.name, sleep=lambda _: None, shards=shards)
    groups = LetterGroups(table, clock=clock)
    archive = Archive(table, cast("Any", InTable()), groups, clock=clock)
    refused = 0
    for first in range(0, RATE * LETTER_SECONDS, BATCH):
        clock.now = begun + first / RATE
        letters = [letter(secrets.token_hex(16), clock.now) for _ in range(BATCH)]
        try:
            archive.put([(each, LetterText(b"x", {}, None)) for each in letters])
        except LettersUnreachable:
            refused += 1
    return lab, refused


def letter(job: str, now: float) -> Letter:
    return Letter(
        id=f"{job}.0", state=LetterState.OPEN, job=job, queue="q", reason="rejected",
        task="demo.greet", group="0123456789abcdef", digest=job, at=now, first=now, last=now,
    )  # fmt: skip


@pytest.mark.long
def test_two_thousand_letters_a_second_of_one_group_keep_every_key_under_its_limit():
    lab, refused = archived(SHARDS)
    assert refused == 0
    assert not lab.throttled
    # Twice the units, since a letter is put in a transaction.
    assert RATE * 2 / SHARDS * 0.9 < lab.hottest("by-list") < UNITS
    assert lab.hottest("table") < UNITS / 2
    listed = {key for part in lab.parts("by-list").values() for key in part}
    assert listed == {key for key, item in lab.items.items() if "list" in item}
    assert len(listed) == RATE * LETTER_SECONDS


def test_one_key_a_group_of_letters_throttles_the_table():
    lab, refused = archived(1)
    assert refused > RATE / BATCH / 3
    assert set(lab.throttled) == {"by-list"}
