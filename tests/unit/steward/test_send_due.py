from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from sealwax.outbox.store import DuePage, Item
from sealwax.steward.send_due import ITEMS, OutboxDuty
from sealwax.transport.errors import QueueUnreachable


def item(number: int, *, queue: str = "q", size: int = 10, group: str | None = None) -> Item:
    return Item(id=f"i{number}", due=number, queue=queue, body="x" * size, group=group)


class FakeOutbox:
    def __init__(self, *items: Item) -> None:
        self.items = {each.id: each for each in items}

    def due_of(self, shard: int, now: float, limit: int) -> DuePage:
        due = sorted((i for i in self.items.values() if i.due <= now), key=lambda i: i.due)
        return DuePage(due[:limit], len(due) >= limit)

    def delete(self, *ids: str) -> None:
        for each in ids:
            del self.items[each]

    def release(self, item: Item, *, due: float) -> Item:
        self.items[item.id] = Item(**{**vars(item), "due": due, "tries": item.tries + 1})
        return self.items[item.id]


class FakeSqs:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.broken: dict[str, Exception] = {}
        self.refused: set[str] = set()

    def get_queue_url(self, **request: Any) -> dict[str, str]:
        return {"QueueUrl": f"http://sqs/{request['QueueName']}"}

    def send_message_batch(self, **request: Any) -> dict[str, Any]:
        error = self.broken.get(request["QueueUrl"].rpartition("/")[2])
        if error:
            raise error
        entries = request["Entries"]
        bad = [e for e in entries if e["MessageBody"] in self.refused]
        good = [e for e in entries if e not in bad]
        self.sent += good
        return {
            "Successful": [{"Id": e["Id"]} for e in good],
            "Failed": [{"Id": e["Id"], "Code": "InvalidParameterValue"} for e in bad],
        }


class Leading:
    def __init__(self, turns: int = 1_000) -> None:
        self.left = turns

    def held(self) -> bool:
        self.left -= 1
        return self.left >= 0


def duty(outbox: Any, sqs: Any, now: float = 1_000.0) -> OutboxDuty:
    return OutboxDuty(outbox, sqs, shard=0, clock=lambda: now, monotonic=lambda: 0.0)


def test_due_items_are_sent_then_deleted_and_others_stay():
    outbox, sqs = FakeOutbox(item(1), item(2), item(2_000)), FakeSqs()
    assert not duty(outbox, sqs).turn(Leading())
    assert len(sqs.sent) == 2
    assert set(outbox.items) == {"i2000"}


def test_sqs_away_fails_the_turn_and_changes_nothing():
    outbox, sqs = FakeOutbox(item(1)), FakeSqs()
    sqs.broken["q"] = EndpointConnectionError(endpoint_url="http://sqs")
    with pytest.raises(QueueUnreachable):
        duty(outbox, sqs).turn(Leading())
    assert outbox.items["i1"].tries == 0


def test_a_queue_that_is_gone_holds_up_no_other():
    outbox, sqs = FakeOutbox(item(1, queue="gone"), item(2)), FakeSqs()
    sqs.broken["gone"] = ClientError(
        {
            "Error": {"Code": "AWS.SimpleQueueService.NonExistentQueue"},
            "ResponseMetadata": {"HTTPStatusCode": 400},
        },
        "SendMessageBatch",
    )
    duty(outbox, sqs).turn(Leading())
    assert [each["MessageBody"] for each in sqs.sent] == ["x" * 10]
    assert outbox.items["i1"].tries == 1
    assert outbox.items["i1"].due == 1_005.0


def test_a_refused_item_waits_longer_each_time_and_its_mates_go():
    outbox, sqs = FakeOutbox(item(1, size=3), item(2, size=4)), FakeSqs()
    sqs.refused.add("xxx")
    duty(outbox, sqs).turn(Leading())
    duty(outbox, sqs, now=2_000.0).turn(Leading())
    assert set(outbox.items) == {"i1"}
    assert outbox.items["i1"].due == 2_010.0


def test_a_refused_fifo_item_holds_up_its_group_alone():
    outbox = FakeOutbox(
        item(1, queue="q.fifo", group="a", size=3),
        item(2, queue="q.fifo", group="a", size=4),
        item(3, queue="q.fifo", group="b", size=5),
    )
    sqs = FakeSqs()
    sqs.refused.add("xxx")
    duty(outbox, sqs).turn(Leading())
    assert [each["MessageBody"] for each in sqs.sent] == ["xxxxx"]
    assert set(outbox.items) == {"i1", "i2"}


def test_nothing_is_sent_once_the_lead_is_lost():
    outbox, sqs = FakeOutbox(item(1)), FakeSqs()
    assert duty(outbox, sqs).turn(Leading(turns=0))
    assert not sqs.sent


def throttled() -> ClientError:
    return ClientError(
        {"Error": {"Code": "RequestThrottled"}, "ResponseMetadata": {"HTTPStatusCode": 403}},
        "SendMessageBatch",
    )


def test_a_throttled_queue_holds_up_no_other_and_its_items_stay_as_they_are():
    outbox = FakeOutbox(item(1, queue="busy"), item(2), item(3, queue="busy"), item(4))
    sqs = FakeSqs()
    sqs.broken["busy"] = throttled()
    made = duty(outbox, sqs)
    assert not made.turn(Leading())
    assert len(sqs.sent) == 2
    assert {(each.id, each.due, each.tries) for each in outbox.items.values()} == {
        ("i1", 1, 0),
        ("i3", 3, 0),
    }
    del sqs.broken["busy"]
    made.turn(Leading())
    assert not outbox.items


def test_a_queue_that_was_silent_comes_last_the_next_time():
    outbox, sqs = FakeOutbox(item(1, queue="mute")), FakeSqs()
    sqs.broken["mute"] = ReadTimeoutError(endpoint_url="http://sqs")
    now = [0.0]
    made = OutboxDuty(outbox, sqs, shard=0, clock=lambda: 1_000.0, monotonic=lambda: now[0])
    with pytest.raises(QueueUnreachable):
        made.turn(Leading())
    outbox.items["i2"] = item(2)
    genuine = sqs.send_message_batch

    def slow(**request: Any) -> dict[str, Any]:
        now[0] += 15.0 * request["QueueUrl"].endswith("mute")  # longer than a turn
        return genuine(**request)

    sqs.send_message_batch = slow  # type: ignore[method-assign]
    assert not made.turn(Leading())
    assert set(outbox.items) == {"i1"}


def test_what_fills_the_page_for_a_queue_that_takes_nothing_is_put_off_in_its_order():
    busy = [item(n, queue="busy.fifo", group="g") for n in range(ITEMS)]
    outbox, sqs = FakeOutbox(*busy, item(ITEMS + 1)), FakeSqs()
    sqs.broken["busy.fifo"] = throttled()
    made = duty(outbox, sqs)
    with pytest.raises(QueueUnreachable):
        made.turn(Leading())
    put_off = sorted((i for i in outbox.items.values() if i.tries), key=lambda i: i.due)
    assert [each.id for each in put_off] == [each.id for each in busy]
    assert 1_005.0 <= put_off[0].due <= put_off[-1].due < 1_006.0
    assert len({each.due for each in put_off}) == ITEMS
    made.turn(Leading())
    assert len(sqs.sent) == 1  # the other queue's, which stood behind the page


def test_a_queue_that_takes_nothing_is_asked_again_within_a_minute():
    busy = [replace(item(n, queue="busy"), tries=50) for n in range(ITEMS)]
    outbox, sqs = FakeOutbox(*busy), FakeSqs()
    sqs.broken["busy"] = throttled()
    with pytest.raises(QueueUnreachable):
        duty(outbox, sqs).turn(Leading())
    assert max(each.due for each in outbox.items.values()) < 1_061.0
