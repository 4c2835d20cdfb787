"""What the laboratory's proxy does to DynamoDB's answers, and to S3's, at the edges."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from support.fault_proxy import Call, answer_of, parts_of
from support.lab_aws import HardAws
from support.lab_dynamodb_answers import PAGE, DynamoAnswers, DynamoRefusal


class Emulated:
    def __init__(self, seed: int = 5) -> None:
        self.answers = DynamoAnswers(seed)
        self.asked: list[dict[str, Any]] = []

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        return {"Responses": {}}

    def call(self, operation: str, **fields: Any) -> dict[str, Any]:
        return asyncio.run(self.answers.answer(operation, fields, self._ask))

    def refusals(self, operation: str, times: int, **fields: Any) -> Counter[str]:
        """Call so often; return how often which code came, with those of a transaction."""
        found: Counter[str] = Counter()
        for _ in range(times):
            before = len(self.asked)
            try:
                self.call(operation, **fields)
                found["done"] += 1
                assert len(self.asked) == before + 1
            except DynamoRefusal as refusal:
                reasons = refusal.more.get("CancellationReasons", [{"Code": ""}])
                codes = {each["Code"] for each in reasons} - {"None"}
                found[f"{refusal.code} {''.join(codes)}".strip()] += 1
                assert len(self.asked) == before, "refused, and done all the same"
        return found


WRITE = {"TableName": "t", "Key": {"id": {"S": "1"}}}
TRANSACTION = {"TransactItems": [{"Update": WRITE}, {"Put": {"TableName": "t", "Item": {}}}]}


def test_three_transactions_of_ten_meet_another_and_some_are_pressed() -> None:
    found = Emulated().refusals("TransactWriteItems", 1_000, **TRANSACTION)
    assert 250 < found["TransactionCanceledException TransactionConflict"] < 350
    assert 10 < found["TransactionCanceledException ThrottlingError"] < 60
    assert found.total() == 1_000


@pytest.mark.parametrize("operation", ["PutItem", "UpdateItem", "DeleteItem"])
def test_single_writes_are_pressed_and_meet_transactions_of_their_table(operation: str) -> None:
    emulated = Emulated()
    alone = emulated.refusals(operation, 1_000, **WRITE)
    assert set(alone) == {"done", "ThrottlingException"}
    assert 10 < alone["ThrottlingException"] < 60
    emulated.refusals("TransactWriteItems", 1, **TRANSACTION)
    met = emulated.refusals(operation, 1_000, **WRITE)
    assert 10 < met["TransactionConflictException"] < 60


def test_reads_are_not_refused() -> None:
    assert Emulated().refusals("GetItem", 300, **WRITE) == {"done": 300}


def test_a_part_of_a_batch_is_left_out_and_never_all() -> None:
    emulated = Emulated()
    requests = [{"PutRequest": {"Item": {"id": {"S": str(n)}}}} for n in range(25)]
    left = 0
    for _ in range(200):
        try:
            answer = emulated.call("BatchWriteItem", RequestItems={"t": requests})
        except DynamoRefusal:
            continue
        out = answer["UnprocessedItems"].get("t", [])
        kept = emulated.asked[-1]["RequestItems"]["t"]
        assert kept
        assert len(kept) + len(out) == 25
        left += len(out)
    assert 0.2 < left / (25 * len(emulated.asked)) < 0.4
    for _ in range(50):
        answer = emulated.call("BatchGetItem", RequestItems={"t": {"Keys": [1], "A": 2}})
        assert answer["UnprocessedKeys"] == {}
    answers = [
        emulated.call("BatchGetItem", RequestItems={"t": {"Keys": [1, 2], "A": 2}})
        for _ in range(50)
    ]
    rest = [each["UnprocessedKeys"] for each in answers]
    assert {"t": {"Keys": [2], "A": 2}} in rest
    assert {} in rest


def test_pages_are_short_and_never_longer_than_the_limit() -> None:
    emulated = Emulated()
    for _ in range(100):
        emulated.call("Query", TableName="t")
    assert {each["Limit"] for each in emulated.asked} == set(range(1, PAGE + 1))
    emulated.asked.clear()
    for _ in range(100):
        emulated.call("Scan", TableName="t", Limit=2)
    assert {each["Limit"] for each in emulated.asked} == {1, 2}


def status_of(method: str, path: str, answer: bytes, **headers: str) -> tuple[int, bytes]:
    async def ask(_: bytes) -> bytes:
        return answer

    call = Call(f"s3 {method}", method, path, headers, b"")
    status, _, body = parts_of(asyncio.run(HardAws(1).exchange(call, ask)))
    return status, body


MISSING = answer_of(404, "application/xml", b"<Error><Code>NoSuchKey</Code></Error>")
NO_BUCKET = answer_of(404, "application/xml", b"<Error><Code>NoSuchBucket</Code></Error>")


def test_s3_says_403_of_a_missing_object_and_of_nothing_else() -> None:
    status, body = status_of("GET", "/bucket/a/b", MISSING)
    assert (status, b"AccessDenied" in body) == (403, True)
    assert status_of("HEAD", "/bucket/a", MISSING) == (403, b"")
    copied = {"x-amz-copy-source": "bucket/b"}
    assert status_of("PUT", "/bucket/a", MISSING, **copied)[0] == 403
    for method, path, answer in (
        ("HEAD", "/bucket", MISSING),
        ("GET", "/bucket/?list-type=2", MISSING),
        ("GET", "/bucket/a", NO_BUCKET),
        ("DELETE", "/bucket/a", MISSING),
        ("PUT", "/bucket/a", MISSING),
    ):
        assert status_of(method, path, answer)[0] == 404


def test_a_refusal_is_dynamodbs_and_a_changed_answer_is_whole() -> None:
    async def ask(body: bytes) -> bytes:
        return answer_of(200, "x", json.dumps({"Count": json.loads(body)["Limit"]}).encode())

    hard = HardAws(1)
    call = Call("Query", "POST", "/", {"x-amz-target": "DynamoDB_20120810.Query"}, b"{}")
    status, headers, body = parts_of(asyncio.run(hard.exchange(call, ask)))
    assert (status, int(headers["content-length"])) == (200, len(body))
    assert 1 <= json.loads(body)["Count"] <= PAGE
    write = json.dumps(TRANSACTION).encode()
    call = Call(
        "TransactWriteItems", "POST", "/",
        {"x-amz-target": "DynamoDB_20120810.TransactWriteItems"}, write,
    )  # fmt: skip

    async def nothing(_: bytes) -> bytes:
        return answer_of(200, "x", b"{}")

    refused = [parts_of(asyncio.run(hard.exchange(call, nothing))) for _ in range(40)]
    kinds = {json.loads(body).get("__type", "") for status, _, body in refused if status == 400}
    assert kinds == {"com.amazonaws.dynamodb.v20120810#TransactionCanceledException"}


def test_the_body_of_a_chunked_answer_is_put_together() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert parts_of(head + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")[2] == b"abcde"
