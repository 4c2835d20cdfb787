"""What the laboratory's proxy does to SQS's answers, at the edges."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from support.lab_sqs_answers import EXPIRED, Modes, SqsAnswers, SqsRefusal


class Emulated:
    """An SQS that gives numbered messages, and the proxy's answers before it."""

    def __init__(self, *modes: str, queue: str = "q", have: int = 10_000) -> None:
        self.now = 100.0
        self.answers = SqsAnswers(Modes(set(modes), 3), 3, clock=lambda: self.now)
        self.queue, self.have, self.given = queue, have, 0
        self.asked: list[dict[str, Any]] = []

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        if "MaxNumberOfMessages" in request:
            count = min(request["MaxNumberOfMessages"], self.have - self.given)
            first, self.given = self.given, self.given + count
            return {
                "Messages": [
                    {"MessageId": str(n), "ReceiptHandle": f"r{n}", "Attributes": {
                        "ApproximateReceiveCount": "1"}}
                    for n in range(first, first + count)
                ]
            }  # fmt: skip
        if "Entries" in request:
            return {"Successful": [{"Id": e["Id"]} for e in request["Entries"]]}
        return {}

    def call(self, operation: str, **fields: Any) -> dict[str, Any]:
        request = {"QueueUrl": f"http://sqs/1/{self.queue}", **fields}
        return asyncio.run(self.answers.answer(operation, request, self._ask))

    def receive(self, most: int = 10, **fields: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call(
            "ReceiveMessage", MaxNumberOfMessages=most, **({"VisibilityTimeout": 30} | fields)
        ).get("Messages", [])
        return found


def test_without_modes_all_passes_as_it_is() -> None:
    sqs = Emulated()
    assert [m["MessageId"] for m in sqs.receive()] == [str(n) for n in range(10)]
    sqs.now += 1_000
    sqs.call("DeleteMessage", ReceiptHandle="r1")
    assert sqs.asked[-1]["ReceiptHandle"] == "r1"


def test_receives_ask_for_one_to_ten() -> None:
    sqs = Emulated("short")
    assert {len(sqs.receive()) for _ in range(200)} == set(range(1, 11))


def test_a_second_delivery_comes_after_its_lease_and_never_once_it_is_deleted() -> None:
    sqs = Emulated("duplicates", have=100)
    found: Counter[str] = Counter()
    receipts: dict[str, str] = {}
    for _ in range(30):
        for message in sqs.receive():
            found[message["MessageId"]] += 1
            receipts[message["MessageId"]] = message["ReceiptHandle"]
    twice = [each for each, count in found.items() if count == 2]
    assert len(found) == 100
    assert len(twice) == sum(found.values()) - 100 > 3
    one, other = twice[:2]
    asked = len(sqs.asked)
    sqs.call("DeleteMessage", ReceiptHandle=receipts[one])
    sqs.call("ChangeMessageVisibility", ReceiptHandle=receipts[other], VisibilityTimeout=60)
    assert len(sqs.asked) == asked, "the emulator does not know these receipts"
    sqs.now += 30
    again = {m["MessageId"]: m for m in sqs.receive()}
    assert set(again) <= set(twice) - {one, other}
    sqs.now += 30
    later = {m["MessageId"]: m for _ in range(5) for m in sqs.receive()}
    assert later[other]["Attributes"]["ApproximateReceiveCount"] == "3"
    assert one not in later


def test_a_batch_of_both_kinds_of_receipt_is_answered_whole() -> None:
    sqs = Emulated("duplicates", have=100)
    messages = [m for _ in range(30) for m in sqs.receive()]
    copy = next(m for m in messages if m["ReceiptHandle"].startswith("second"))
    entries = [
        {"Id": "a", "ReceiptHandle": "r1"},
        {"Id": "b", "ReceiptHandle": copy["ReceiptHandle"]},
    ]
    answer = sqs.call("DeleteMessageBatch", Entries=entries)
    assert sorted(each["Id"] for each in answer["Successful"]) == ["a", "b"]
    assert [each["Id"] for each in sqs.asked[-1]["Entries"]] == ["a"]


def test_a_fifo_queues_receipt_is_refused_at_the_end_of_its_lease() -> None:
    sqs = Emulated("expired", "duplicates", queue="q.fifo")
    sqs.receive()
    sqs.now += 29.9
    sqs.call("ChangeMessageVisibility", ReceiptHandle="r0", VisibilityTimeout=30)
    sqs.call("DeleteMessage", ReceiptHandle="r1")
    sqs.now += 0.1
    with pytest.raises(SqsRefusal, match=EXPIRED):
        sqs.call("DeleteMessage", ReceiptHandle="r2")
    entries = [{"Id": "0", "ReceiptHandle": "r0"}, {"Id": "3", "ReceiptHandle": "r3"}]
    answer = sqs.call("DeleteMessageBatch", Entries=entries)
    assert answer["Successful"] == [{"Id": "0"}]
    assert [(e["Id"], e["Code"]) for e in answer["Failed"]] == [("3", "ReceiptHandleIsInvalid")]


def test_a_standard_queues_receipt_is_good_after_its_lease() -> None:
    sqs = Emulated("expired")
    sqs.receive()
    sqs.now += 1_000
    sqs.call("DeleteMessage", ReceiptHandle="r0")
    assert sqs.asked[-1]["ReceiptHandle"] == "r0"
