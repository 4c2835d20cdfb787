from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from sealwax.outbox.store import Item
from sealwax.steward.send_due import OutboxDuty
from sealwax.transport.errors import QueueUnreachable


def item(number: int, *, queue: str = "q", size: int = 10, group: str | None = None) -> Item:
    return Item(id=f"i{number}", due=number, queue=queue, body="x" * size, group=group)


class FakeOutbox:
    def __init__(self, *items: Item) -> None:
        self.items = {each.id: each for each in items}

    def due(self, now: float, limit: int) -> list[Item]:
        return sorted((i for i in self.items.values() if i.due <= now), key=lambda i: i.due)[:limit]

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
    return OutboxDuty(outbox, sqs, clock=lambda: now, monotonic=lambda: 0.0)


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
