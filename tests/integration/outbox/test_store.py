"""The outbox on emulated AWS: what is written comes back whole, when it is due."""

from __future__ import annotations

import pytest
from support.waiting import wait_for

from sealwax.aws.shards import SHARDS
from sealwax.outbox.store import MAX_BYTES, Item, Outbox, OutboxDenied, shard_of


@pytest.fixture
def outbox(provisioned, aws):
    return Outbox(aws.client("dynamodb"), provisioned.table_name("outbox"))


def test_an_item_comes_back_whole_once_it_is_due(outbox):
    item = Item(
        id="a" * 32 + "#0",
        due=1_000.5,
        queue="q",
        body="ä" * 1_000,
        attributes={
            "t": {"DataType": "String", "StringValue": "x"},
            "b": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        },
        group="g",
        job="a" * 32,
        task="t.x",
        lane="default",
    )
    outbox.put(item)
    assert outbox.due(1_000.0, 100) == []
    assert outbox.due(1_001.0, 100) == [item]
    later = outbox.release(item, due=2_000.0)
    assert later.tries == 1
    assert outbox.due(1_001.0, 100) == []
    assert outbox.get(item.id) == later
    outbox.delete(item.id, "unknown")
    assert outbox.get(item.id) is None
    outbox.release(item, due=1.0)
    assert outbox.get(item.id) is None


@pytest.mark.exact_lab  # one page has all of a shard: its index holds keys alone
def test_items_of_all_shards_come_the_longest_due_first(outbox):
    items = [Item(id=f"i{n}", due=100.0 - n, queue="q", body="x") for n in range(40)]
    assert len({shard_of(item, SHARDS) for item in items}) == SHARDS
    for item in items:
        outbox.put(item)
    found = outbox.due(200.0, 400)
    assert [item.id for item in found] == [f"i{n}" for n in reversed(range(40))]
    outbox.delete(*(item.id for item in items))
    wait_for(lambda: outbox.due(200.0, 400) == [])


def test_the_largest_body_fits_and_a_larger_one_is_refused(outbox):
    item = Item(id="big", due=0.0, queue="q", body="x" * MAX_BYTES)
    outbox.put(item)
    assert outbox.get("big") == item
    with pytest.raises(OutboxDenied):
        outbox.put(Item(id="bigger", due=0.0, queue="q", body="x" * (MAX_BYTES + 1)))
