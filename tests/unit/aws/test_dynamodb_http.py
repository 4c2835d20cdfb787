"""What goes directly is sent, answered, refused and tried again as by boto3's client."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError
from support.botocore_http import HttpSession, headers, make_client, session

from sealwax.aws.dynamodb_http import FIRST_DELAY, OPERATIONS, DynamoDbHttpClient
from sealwax.aws.rate import AdaptiveRate

KEY = {"TableName": "jobs", "Key": {"id": {"S": "ä"}}}
CALLS: dict[str, dict[str, Any]] = {
    "get_item": KEY | {"ConsistentRead": True},
    "put_item": {"TableName": "jobs", "ConditionExpression": "attribute_not_exists(id)", "Item": {
        "id": {"S": "a"}, "n": {"N": "1.5"}, "b": {"B": b"\0\xff"}, "bs": {"BS": [b"\0", b"a"]},
        "m": {"M": {"B": {"B": b"x"}, "l": {"L": [{"B": b"y"}, {"NULL": True}]}}}}},
    "update_item": KEY | {"UpdateExpression": "SET a = :a", "ReturnValues": "ALL_NEW",
                          "ExpressionAttributeValues": {":a": {"B": b"z"}}},
    "delete_item": KEY,
    "query": {"TableName": "jobs", "Limit": 3, "ScanIndexForward": False},
    "batch_get_item": {"RequestItems": {"jobs": {"Keys": [{"id": {"B": b"k"}}]}}},
    "batch_write_item": {"RequestItems": {"jobs": [{"PutRequest": {"Item": {
        "id": {"B": b"k"}}}}]}},
    "transact_write_items": {"TransactItems": [{"Put": {"TableName": "jobs", "Item": {
        "id": {"S": "a"}}}}], "ClientRequestToken": "t"},
    "transact_get_items": {"TransactItems": [{"Get": KEY}]},
}  # fmt: skip


def make(
    *, others: Any = None, rate: AdaptiveRate | None = None
) -> tuple[Any, DynamoDbHttpClient, HttpSession, list[float]]:
    """Return a client, a direct one that knows the way, their HTTP session, and the pauses."""
    client, http, _ = make_client("dynamodb")
    pauses: list[float] = []
    direct = DynamoDbHttpClient(
        client, session().get_credentials, others=others, rate=rate, pause=pauses.append
    )
    assert not direct.direct
    direct.get_item(**KEY)
    assert direct.direct
    return client, direct, http, pauses


def test_every_operation_is_tried_here() -> None:
    assert set(CALLS) == set(OPERATIONS)


@pytest.mark.parametrize("name", CALLS)
def test_requests_are_those_of_the_client(name: str) -> None:
    client, direct, http, _ = make()

    getattr(client, name)(**CALLS[name])
    getattr(direct, name)(**CALLS[name])

    theirs, ours = http.requests[-2:]
    assert (ours.method, ours.url) == (theirs.method, theirs.url)
    assert headers(ours) == headers(theirs)
    assert json.loads(ours.body) == json.loads(theirs.body)


def text(value: bytes) -> str:
    return base64.b64encode(value).decode()


ITEM = {
    "id": {"S": "a"}, "B": {"S": "called as a type"}, "BS": {"M": {"B": {"B": text(b"in")}}},
    "b": {"B": text(b"\0\xff")}, "bs": {"BS": [text(b""), text(b"a")]},
    "l": {"L": [{"B": text(b"y")}, {"M": {}}, {"L": []}, {"N": "12"}, {"BOOL": False}]},
    "e": {"M": {"S": {"S": "x"}, "N": {"NULL": True}}}, "ss": {"SS": ["a"]},
}  # fmt: skip

ANSWERS: list[tuple[str, dict[str, Any]]] = [
    ("get_item", {}),
    ("get_item", {"Item": ITEM}),
    ("get_item", {"Item": {"B": {"B": text(b"only")}}}),
    ("update_item", {"Attributes": ITEM}),
    ("query", {"Items": [ITEM, {}], "Count": 2, "ScannedCount": 5,
               "LastEvaluatedKey": {"id": {"B": text(b"k")}}}),
    ("batch_get_item", {"Responses": {"BS1": [ITEM]}, "UnprocessedKeys": {
        "BS1": {"Keys": [{"id": {"B": text(b"k")}}]}}}),
    ("batch_write_item", {"UnprocessedItems": {"jobs": [{"PutRequest": {"Item": ITEM}},
                                                        {"DeleteRequest": {"Key": ITEM}}]}}),
    ("transact_get_items", {"Responses": [{"Item": ITEM}, {}]}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "answer"), ANSWERS)
def test_answers_are_those_of_the_client(name: str, answer: dict[str, Any]) -> None:
    client, direct, http, _ = make()
    http.body = json.dumps(answer).encode()

    theirs = getattr(client, name)(**CALLS[name])
    ours = getattr(direct, name)(**CALLS[name])

    theirs.pop("ResponseMetadata")
    assert ours == theirs


def refusal(code: str, **more: Any) -> bytes:
    kind = f"com.amazonaws.dynamodb.v20120810#{code}"
    return json.dumps({"__type": kind, "message": "no"} | more).encode()


REFUSALS: list[tuple[int, bytes]] = [
    (400, refusal("ConditionalCheckFailedException")),
    (400, refusal("ConditionalCheckFailedException", Item=ITEM)),
    (400, refusal("TransactionCanceledException", CancellationReasons=[
        {"Code": "None"}, {"Code": "ConditionalCheckFailed", "Message": "m", "Item": ITEM}])),
    (400, refusal("TransactionInProgressException")),
    (400, refusal("ProvisionedThroughputExceededException")),
    (400, refusal("ResourceNotFoundException")),
    (400, refusal("AccessDeniedException")),
    (400, refusal("InventedException")),
    (500, refusal("InternalServerError")),
    (503, b"<html>Service Unavailable</html>"),
    (413, b""),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body"), REFUSALS)
def test_refusals_are_those_of_the_client(status: int, body: bytes) -> None:
    client, direct, http, _ = make()
    http.status, http.body = status, body

    with pytest.raises(ClientError) as theirs:
        client.put_item(**CALLS["put_item"])
    with pytest.raises(ClientError) as ours:
        direct.put_item(**CALLS["put_item"])

    assert type(ours.value) is type(theirs.value)
    for response in (theirs.value.response, ours.value.response):
        for name in ("RetryAttempts", "MaxAttemptsReached"):
            response["ResponseMetadata"].pop(name, None)
    assert ours.value.response == theirs.value.response
    assert ours.value.operation_name == theirs.value.operation_name


class Others:
    """The client of a call's other tries; answers."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def __call__(self) -> Others:
        return self

    def update_item(self, **parameters: Any) -> dict[str, Any]:
        self.asked.append(parameters)
        return {"Attributes": {}}


PASSES = {
    "throttled": (400, refusal("ProvisionedThroughputExceededException")),
    "throttled otherwise": (400, refusal("ThrottlingException")),
    "a failure": (500, refusal("InternalServerError")),
    "a page of a proxy": (502, b"<html>"),
    "no JSON": (200, b"<html>"),
    "half an answer": (200, b'{"Attributes": {'),
    "a transaction under way": (400, refusal("TransactionInProgressException")),
}


@pytest.mark.parametrize("name", PASSES)
def test_what_may_pass_is_tried_again_by_the_others(name: str) -> None:
    others = Others()
    _, direct, http, pauses = make(others=others)
    before = len(http.requests)
    http.status, http.body = PASSES[name]

    assert direct.update_item(**CALLS["update_item"]) == {"Attributes": {}}

    assert len(http.requests) - before == 1
    assert others.asked == [CALLS["update_item"]]
    assert len(pauses) == 1
    assert 0 <= pauses[0] <= FIRST_DELAY


@pytest.mark.parametrize(
    "error",
    [ReadTimeoutError(endpoint_url="x"), ConnectTimeoutError(endpoint_url="x")],
)
def test_a_call_without_an_answer_is_tried_again_by_the_others(error: Exception) -> None:
    others = Others()
    _, direct, http, _ = make(others=others)

    def silent(request: Any) -> Any:
        raise error

    http.send = silent  # type: ignore[method-assign]
    assert direct.update_item(**CALLS["update_item"]) == {"Attributes": {}}
    assert others.asked == [CALLS["update_item"]]

    _, alone, http, _ = make()
    http.send = silent  # type: ignore[method-assign]
    with pytest.raises(type(error)):
        alone.update_item(**CALLS["update_item"])


@pytest.mark.parametrize(
    "code",
    ["ConditionalCheckFailedException", "TransactionCanceledException", "ValidationException",
     "ResourceNotFoundException", "AccessDeniedException", "InventedException"],
)  # fmt: skip
def test_what_an_answer_settles_is_tried_once(code: str) -> None:
    others = Others()
    _, direct, http, pauses = make(others=others)
    http.status, http.body = 400, refusal(code)

    with pytest.raises(ClientError):
        direct.update_item(**CALLS["update_item"])

    assert (others.asked, pauses) == ([], [])


def test_the_rate_hears_of_each_answer_once() -> None:
    rate = AdaptiveRate(1.0)
    _, direct, http, _ = make(rate=rate, others=Others())

    direct.update_item(**CALLS["update_item"])
    assert rate.rate is None
    http.status, http.body = PASSES["throttled"]
    direct.update_item(**CALLS["update_item"])

    assert rate.rate is not None


def test_where_botocore_differs_the_call_is_the_clients() -> None:
    client, direct, http, pauses = make()
    http.body = json.dumps({"Item": ITEM}).encode()
    direct._calls._request = lambda: None

    answer = direct.get_item(**KEY)

    assert answer["Item"]["b"] == {"B": b"\0\xff"}
    assert "ResponseMetadata" in answer
    assert not direct.direct
    assert pauses == []
    assert client.meta.service_model.service_name == direct.meta.service_model.service_name
