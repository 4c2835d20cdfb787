"""Pages over shards: in order, whole, without doubles, at a known cost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.lab_dynamodb import LabTable
from support.ledger import Clock, new_job, numbered

from sealwax.aws.shards import SHARDS, SHARDS_MAX
from sealwax.ledger import JobState, Ledger, Refused, is_cursor, open_watch
from sealwax.provision import desired_state
from sealwax.settings import Settings

JOBS = next(t for t in desired_state(Settings()).tables if t.name.endswith("-jobs"))
LANE = open_watch("default")
TENANT = "ab" * 16


def table_of(**more: Any) -> LabTable:
    return LabTable(JOBS, **more)


def ledger_of(table: Any, clock: Clock, shards: int = SHARDS, read: int | None = None) -> Ledger:
    return Ledger(table, JOBS.name, keep=100, clock=clock, shards=shards, shards_read=read)


def accept(ledger: Ledger, clock: Clock, count: int, first: int = 0) -> list[str]:
    ids = [numbered(first + n) for n in range(count)]
    for job in ids:
        clock.now += 1
        ledger.accept(new_job(clock, job))
    return ids


@settings(deadline=None, max_examples=60)
@given(
    # Few different moments: many jobs are created at the same one.
    moments=st.lists(st.integers(0, 6), max_size=60),
    shards=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    limit=st.integers(1, 12),
    page=st.integers(1, 9),
    unprocessed=st.sampled_from([0.0, 0.6]),
    newest_first=st.booleans(),
)
def test_pages_are_whole_and_in_order(moments, shards, limit, page, unprocessed, newest_first):
    table, clock = table_of(page=page, unprocessed=unprocessed), Clock()
    start = clock.now
    for number, moment in enumerate(moments):
        # The count was changed in between.
        writer = ledger_of(table, clock, shards=shards[number >= len(moments) // 2])
        clock.now = start + moment
        writer.accept(new_job(clock, numbered(number)))
    reader = ledger_of(table, clock, read=max(shards), shards=1)
    found: list[Any] = []
    after: str | None = None
    for _ in range(len(moments) + 2):
        got = reader.of_tenant(TENANT, after, limit, newest_first=newest_first)
        assert len(got.entries) <= limit
        found += got.entries
        after = got.after
        if after is None:
            break
        assert is_cursor(after)
    assert after is None
    assert sorted(entry.id for entry in found) == [numbered(n) for n in range(len(moments))]
    times = [entry.created for entry in found]
    assert times == sorted(times, reverse=newest_first)
    assert {entry.tenant for entry in found} <= {TENANT}


def test_a_page_costs_a_query_a_shard_and_one_read():
    table, clock = table_of(), Clock()
    ledger = ledger_of(table, clock)
    accept(ledger, clock, 1_000)
    after, pages = None, 0
    table.calls.clear()
    while pages < 10:
        page = ledger.watching(LANE, after)
        assert len(page.entries) == 100
        after, pages = page.after, pages + 1
    assert table.calls["batch_get_item"] == pages
    # Where one shard has more of a page than twice its part, it is asked again.
    assert SHARDS * pages <= table.calls["query"] <= SHARDS * pages * 1.1


def test_the_oldest_is_found_over_all_shards_and_costs_as_many_queries():
    table, clock = table_of(), Clock()
    ledger = ledger_of(table, clock)
    ids = accept(ledger, clock, 200)
    for job in ids[:150]:
        ledger.claim(job, token="t", lease=30)
        ledger.succeed(job, token="t", result=None)
        table.calls.clear()
        oldest = ledger.oldest("default")
        assert oldest is not None
        assert oldest.id == ids[ids.index(job) + 1]
        assert table.calls["query"] <= SHARDS + 4
        assert table.calls["batch_get_item"] == 1


def test_jobs_of_before_the_shards_are_read_claimed_and_ended():
    table, clock = table_of(), Clock()
    old, new = ledger_of(table, clock, shards=1), ledger_of(table, clock)
    ids = accept(old, clock, 30)
    assert {each["watch"]["S"] for each in table.items.values()} == {LANE}
    assert {each["tenant"]["S"] for each in table.items.values()} == {TENANT}
    ids += accept(new, clock, 30, first=30)
    assert [entry.id for entry in new.watching(LANE).entries] == ids
    for job in ids:
        new.claim(job, token="t", lease=30, tenant=TENANT)
        new.die(job, token="t", reason="rejected", cause="x", error="E")
    assert new.watching(LANE).entries == ()
    assert [entry.id for entry in new.watching("dead").entries] == ids
    assert len({each["watch"]["S"] for each in table.items.values()}) == SHARDS
    for job in ids:
        assert new.replay(job, generation=0)
    assert [entry.id for entry in new.watching(LANE).entries] == ids


def test_fewer_shards_are_written_and_all_are_read_until_the_old_ones_are_gone():
    table, clock = table_of(), Clock()
    ids = accept(ledger_of(table, clock, shards=16), clock, 60)
    lowered = ledger_of(table, clock, shards=4, read=16)
    ids += accept(lowered, clock, 60, first=60)
    page = lowered.watching(LANE)
    assert [e.id for e in (*page.entries, *lowered.watching(LANE, page.after).entries)] == ids
    assert len({each["watch"]["S"] for each in table.items.values()}) == 16


@pytest.mark.parametrize("tenant", [TENANT[:-1], "", TENANT + "#", "cd" * 16])
def test_a_claim_of_another_tenant_is_refused_whatever_the_shard(tenant):
    table, clock = table_of(), Clock()
    ledger = ledger_of(table, clock)
    for job in accept(ledger, clock, 20):
        refused = ledger.claim(job, token="t", lease=30, tenant=tenant)
        assert isinstance(refused, Refused)
        assert refused.entry is not None
        assert refused.entry.tenant == TENANT
        assert refused.entry.state is JobState.ACCEPTED


def test_a_lane_that_is_named_like_anothers_shard_lists_its_own_jobs():
    table, clock = table_of(), Clock()
    ledger = ledger_of(table, clock)
    ids = accept(ledger, clock, 30)
    for lane in ("default", "default#3"):
        shown = ledger.watching(open_watch(lane)).entries
        assert [entry.id for entry in shown] == (ids if lane == "default" else [])


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (f"12.5/{'a' * 32}", True),
        (f",-,12/{'0' * 32}", True),
        (f"12.5/{'a' * 31}", False),
        (f"12.5/{'A' * 32}", False),
        (f"-1/{'a' * 32}", False),
        (f"12.5/{'a' * 32}\n", False),
        ("," * (SHARDS_MAX - 1), True),
        ("," * SHARDS_MAX, False),
        ("x", False),
    ],
)
def test_only_what_a_page_gives_is_a_cursor(text, good):
    assert is_cursor(text) is good
