"""An hour without SQS: its messages leave the outbox by several stewards, and for few calls."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from botocore.exceptions import ClientError
from support.lab_dynamodb import UNITS, LabTable
from support.ledger import Clock

from sealwax.aws.shards import SHARDS
from sealwax.outbox.store import MAX_BYTES, ORDERED, PAGE_BYTES, Item, Outbox
from sealwax.provision import desired_state
from sealwax.settings import Settings
from sealwax.steward.send_due import OutboxDuty
from sealwax.transport.errors import QueueUnreachable

TABLE = next(t for t in desired_state(Settings()).tables if t.name.endswith("-outbox"))

#: Items that stand for the hour's: what is counted grows with their number alone.
ITEMS = 4_000

#: What waits after an hour at 1,000 jobs a second; seconds that a call takes, as within
#: a region; seconds in which it is to be gone.
HOUR, CALL, WITHIN = 3_600_000, 0.01, 20 * 60


class CountingSqs:
    def __init__(self) -> None:
        self.calls = 0
        self.bodies: list[str] = []
        self.throttled: set[str] = set()

    def get_queue_url(self, **request: Any) -> dict[str, str]:
        return {"QueueUrl": request["QueueName"]}

    def send_message_batch(self, **request: Any) -> dict[str, Any]:
        self.calls += 1
        if request["QueueUrl"] in self.throttled:
            raise ClientError({"Error": {"Code": "RequestThrottled"}}, "SendMessageBatch")
        self.bodies += [entry["MessageBody"] for entry in request["Entries"]]
        return {"Successful": [{"Id": entry["Id"]} for entry in request["Entries"]], "Failed": []}


class Leading:
    def held(self) -> bool:
        return True


def filled(items: int = ITEMS, queue: str = "lane", **more: Any) -> tuple[LabTable, Outbox]:
    """Return an outbox with one tenant's messages of a fair lane, put at 2,000 a second."""
    clock = Clock()
    table = LabTable(TABLE, clock=clock, **more)
    outbox = Outbox(table, TABLE.name)
    for number in range(items):
        clock.now = 1_000.0 + number / 2_000
        outbox.put(
            Item(id=f"{number:032x}#0", due=float(number), queue=queue, body=str(number), group="t")
        )
    clock.now = 1e6
    table.limit = None
    return table, outbox


def duties(outbox: Outbox, sqs: CountingSqs) -> list[OutboxDuty]:
    return [
        OutboxDuty(outbox, sqs, shard=shard, clock=lambda: 1e6, monotonic=lambda: 0.0)
        for shard in range(outbox.shards)
    ]


def drain(duty: OutboxDuty) -> None:
    while duty.turn(Leading()):
        pass


@pytest.mark.parametrize("unprocessed", [0.0, 0.3])
def test_an_hour_of_messages_leaves_within_twenty_minutes_of_calls(unprocessed):
    table, outbox = filled(unprocessed=unprocessed)
    sqs = CountingSqs()
    by_shard = []
    for duty in duties(outbox, sqs):
        before = sum(table.calls.values()) + sqs.calls
        drain(duty)
        by_shard.append(sum(table.calls.values()) + sqs.calls - before)
    assert not table.items
    assert Counter(sqs.bodies) == Counter(str(number) for number in range(ITEMS))
    if not unprocessed:
        # The busiest shard's calls, one after the other, are the time that all take.
        assert max(by_shard) / ITEMS * HOUR * CALL < WITHIN
        assert max(by_shard) < 1.3 * sum(by_shard) / SHARDS


def test_a_page_of_large_messages_ends_early_and_says_so():
    table = LabTable(TABLE, limit=None)
    outbox = Outbox(table, TABLE.name)
    for number in range(100):
        body = "x" * MAX_BYTES
        outbox.put(Item(id=f"i{number}", due=float(number), queue="q.fifo", body=body, group="g"))
    ((shard, _),) = table.parts("by-due").items()
    page = outbox.due_of(int(shard), 1e6, 200)
    assert [item.due for item in page.items] == [float(number) for number in range(len(page.items))]
    assert PAGE_BYTES // MAX_BYTES <= len(page.items) < 100
    assert page.more


def test_one_tenants_messages_of_a_fair_lane_keep_every_key_under_its_limit():
    table, _ = filled(ITEMS)
    assert not table.throttled
    assert table.hottest("by-due") < UNITS / 2


def test_a_group_of_an_ordered_queue_leaves_in_its_order_whatever_the_shards():
    for shards in (1, 4, 8, 64):
        table = LabTable(TABLE)
        outbox = Outbox(table, TABLE.name, shards=shards)
        for number in range(300):
            outbox.put(
                Item(
                    id=f"i{number}", due=float(number), queue="q.fifo", body=str(number), group="g"
                )
            )
        assert len(table.parts("by-due")) >= 1
        used = [shard for shard, part in table.parts("by-due").items() if part]
        assert len(used) == 1
        assert int(used[0]) < ORDERED
        table.unprocessed = 0.5
        sqs = CountingSqs()
        for duty in duties(outbox, sqs):
            drain(duty)
        assert sqs.bodies == [str(number) for number in range(300)]


def test_two_that_believe_they_lead_a_shard_send_twice_what_both_read_and_lose_nothing():
    _, outbox = filled(400)
    sqs = CountingSqs()
    genuine = outbox.due_of
    other = OutboxDuty(outbox, sqs, shard=0, clock=lambda: 1e6, monotonic=lambda: 0.0)

    def read_by_both(shard: int, now: float, limit: int) -> Any:
        page = genuine(shard, now, limit)
        outbox.due_of = genuine  # type: ignore[method-assign]
        other.turn(Leading())
        return page

    outbox.due_of = read_by_both  # type: ignore[method-assign]
    for duty in duties(outbox, sqs):
        drain(duty)
    counts = Counter(sqs.bodies)
    assert set(counts) == {str(number) for number in range(400)}
    assert max(counts.values()) == 2


def test_a_throttled_queue_leaves_every_other_item_of_every_shard():
    _, outbox = filled(1_000, queue="throttled")
    for number in range(100):
        outbox.put(Item(id=f"g{number}", due=5_000.0, queue="good", body=f"g{number}"))
    sqs = CountingSqs()
    sqs.throttled = {"throttled"}
    for duty in duties(outbox, sqs):
        for _ in range(3):
            try:
                duty.turn(Leading())
            except QueueUnreachable:
                continue
    assert set(sqs.bodies) == {f"g{number}" for number in range(100)}
    assert len(list(outbox.names())) == 1_000
