"""What the direct way sends, returns and raises is what boto3's client does."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, NoCredentialsError
from support.botocore_http import HttpSession, Raw, headers, make_client, session

from sealwax.aws.errors import error_code, is_gone, is_retryable
from sealwax.transport.sqs_http import SqsHttpClient

URL = "https://sqs.eu-west-1.amazonaws.com/1/q"

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("receive_message", {"QueueUrl": URL, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0,
                         "VisibilityTimeout": 30, "MessageAttributeNames": ["All"],
                         "MessageSystemAttributeNames": ["All"]}),
    ("send_message_batch", {"QueueUrl": URL, "Entries": [
        {"Id": "0", "MessageBody": 'ä\u2028"', "DelaySeconds": 3, "MessageGroupId": "g",
         "MessageAttributes": {"b": {"DataType": "Binary", "BinaryValue": b"\0\xff"},
                               "s": {"DataType": "String", "StringValue": "é"}}}]}),
    ("delete_message_batch", {"QueueUrl": URL, "Entries": [{"Id": "0", "ReceiptHandle": "r"}]}),
    ("change_message_visibility_batch", {"QueueUrl": URL, "Entries": [
        {"Id": "0", "ReceiptHandle": "r", "VisibilityTimeout": 0}]}),
]  # fmt: skip


def make(**options: Any) -> tuple[Any, SqsHttpClient, HttpSession, list[str]]:
    """Return a client, a direct one over it, their HTTP session, and what `before-send` saw."""
    client, http, sent = make_client("sqs", **options)
    return client, SqsHttpClient(client, session().get_credentials), http, sent


@pytest.mark.parametrize(("name", "parameters"), CALLS)
def test_requests_are_those_of_the_client(name: str, parameters: dict[str, Any]) -> None:
    client, wire, http, sent = make()
    client.list_queues()

    assert wire.direct
    getattr(client, name)(**parameters)
    getattr(wire, name)(**parameters)

    theirs, ours = http.requests[-2:]
    assert (ours.method, ours.url) == (theirs.method, theirs.url)
    assert headers(ours) == headers(theirs)
    assert json.loads(ours.body) == json.loads(theirs.body)
    assert sent[1] == sent[2]


@pytest.mark.parametrize(("name", "parameters"), CALLS)
def test_the_first_call_goes_by_the_client(name: str, parameters: dict[str, Any]) -> None:
    _, wire, http, _ = make()

    for direct in (False, True):
        assert wire.direct == direct
        getattr(wire, name)(**parameters)

    assert len(http.requests) == 2


ANSWERS: list[tuple[str, bytes]] = [
    ("receive_message", b"{}"),
    ("receive_message", json.dumps({"Messages": [{
        "MessageId": "m", "ReceiptHandle": "r", "Body": "\u00e4", "MD5OfBody": "d",
        "Attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "5"},
        "MessageAttributes": {"b": {"DataType": "Binary", "BinaryValue": "AP8="},
                              "s": {"DataType": "String", "StringValue": "x"}}}]}).encode()),
    ("send_message_batch", json.dumps({
        "Successful": [{"Id": "0", "MessageId": "m", "MD5OfMessageBody": "d"}],
        "Failed": [{"Id": "1", "Code": "InternalError", "SenderFault": False}]}).encode()),
    ("delete_message_batch", b'{"Successful": [{"Id": "0"}], "Failed": []}'),
    ("change_message_visibility_batch", json.dumps({
        "Failed": [{"Id": "0", "SenderFault": True, "Code": "MessageNotInflight",
                    "Message": "no"}]}).encode()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body"), ANSWERS)
def test_answers_are_those_of_the_client(name: str, body: bytes) -> None:
    client, wire, http, _ = make()
    client.list_queues()
    http.body = body

    theirs = getattr(client, name)(QueueUrl=URL)
    ours = getattr(wire, name)(QueueUrl=URL)

    theirs.pop("ResponseMetadata")
    assert ours == theirs


def query(code: str) -> dict[str, str]:
    return {"x-amzn-query-error": f"{code};Sender", "content-type": "application/x-amz-json-1.0"}


REFUSALS: list[tuple[int, dict[str, str], bytes]] = [
    (400, query("AWS.SimpleQueueService.NonExistentQueue"),
     b'{"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "gone"}'),
    (400, query("AWS.SimpleQueueService.BatchRequestTooLong"),
     b'{"__type": "com.amazonaws.sqs#BatchRequestTooLong"}'),
    (400, {}, b'{"__type": "com.amazonaws.sqs#RequestThrottled", "message": "slow"}'),
    (403, {}, b'{"__type": "com.amazon.coral.service#AccessDeniedException", "Message": "no"}'),
    (400, {}, b'{"__type": "ExpiredTokenException"}'),
    (500, {}, b""),
    (503, {"content-type": "text/html"}, b"<html>Service Unavailable</html>"),
    (429, {}, b"not json"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "said", "body"), REFUSALS)
def test_refusals_are_those_of_the_client(status: int, said: dict[str, str], body: bytes) -> None:
    client, wire, http, _ = make()
    client.list_queues()
    http.status, http.headers, http.body = status, said, body

    with pytest.raises(ClientError) as theirs:
        client.receive_message(QueueUrl=URL)
    with pytest.raises(ClientError) as ours:
        wire.receive_message(QueueUrl=URL)

    assert type(ours.value) is type(theirs.value)
    assert ours.value.response["Error"] == theirs.value.response["Error"]
    assert ours.value.operation_name == theirs.value.operation_name
    for judge in (is_gone, is_retryable, error_code):
        assert judge(ours.value) == judge(theirs.value)


@pytest.mark.parametrize("body", [b"<html>login</html>", b'{"Messages": [{"Body"', b"[]", b""])
def test_an_answer_that_is_none_is_worth_another_try(body: bytes) -> None:
    client, wire, http, _ = make()
    client.list_queues()
    http.body = body

    with pytest.raises(Exception, match="not JSON") as raised:
        wire.receive_message(QueueUrl=URL)

    assert is_retryable(raised.value)


@pytest.mark.parametrize(
    "options",
    [
        {"config": {"signature_version": UNSIGNED}},
        {"endpoint_url": "http://127.0.0.1:1/under/a/path"},
    ],
)
def test_what_is_sent_otherwise_stays_with_the_client(options: dict[str, Any]) -> None:
    _, wire, http, _ = make(**options)

    for _ in range(2):
        wire.receive_message(QueueUrl=URL)

    assert not wire.direct
    assert len(http.requests) == 2


def test_without_botocores_session_all_goes_by_the_client() -> None:
    client, _, http, _ = make()
    hidden = client._endpoint

    class Other:
        """A client whose parts are elsewhere."""

        meta = client.meta
        receive_message = staticmethod(client.receive_message)

    wire = SqsHttpClient(Other(), lambda: None)
    wire.receive_message(QueueUrl=URL)
    wire.receive_message(QueueUrl=URL)

    assert hidden.http_session is http
    assert not wire.direct
    assert len(http.requests) == 2


@pytest.mark.parametrize(
    ("region", "config"),
    [
        ("us-east-1", {}),
        ("cn-north-1", {}),
        ("us-gov-west-1", {"use_fips_endpoint": True}),
        ("eu-central-1", {"use_dualstack_endpoint": True}),
        ("us-iso-east-1", {"use_fips_endpoint": True}),
    ],
)
def test_the_endpoint_is_the_one_the_client_resolves(region: str, config: dict[str, Any]) -> None:
    _, wire, http, _ = make(region_name=region, config=config)

    wire.receive_message(QueueUrl=URL)
    wire.receive_message(QueueUrl=URL)

    assert wire.direct
    theirs, ours = http.requests
    assert ours.url == theirs.url
    assert f"/{region}/sqs/" in headers(ours, passing=True)["authorization"]


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("http://127.0.0.1:4566", "127.0.0.1:4566"),
        ("http://sqs.test:80/", "sqs.test"),
        ("https://sqs.test:443", "sqs.test"),
        ("https://sqs.test:80", "sqs.test:80"),
        # As botocore signs it, which is not as it is spelt.
        ("http://SQS.Test:4566", "sqs.test:4566"),
        ("http://sqs.test:04566", "sqs.test:4566"),
        ("http://[::1]:4566", "[::1]:4566"),
        ("HTTPS://Sqs.Test:0443/", "sqs.test"),
    ],
)
def test_the_host_is_signed_as_it_is_sent(
    endpoint: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sealwax.aws import direct_calls as module

    hosts: list[str] = []
    signer = module.SigV4Signer

    def spy(**arguments: Any) -> Any:
        hosts.append(arguments["host"])
        return signer(**arguments)

    monkeypatch.setattr(module, "SigV4Signer", spy)
    _, wire, _, _ = make(endpoint_url=endpoint)
    wire.receive_message(QueueUrl=URL)

    assert hosts == [host]


def test_credentials_are_asked_for_at_each_call() -> None:
    client, _, http, _ = make()
    found: list[Any] = []
    wire = SqsHttpClient(client, lambda: found[-1] if found else None)
    client.list_queues()

    with pytest.raises(NoCredentialsError):
        wire.receive_message(QueueUrl=URL)
    for name in ("FIRST", "SECOND"):
        found.append(boto3.Session(name, "s", "t" + name).get_credentials())
        wire.receive_message(QueueUrl=URL)
        sent = headers(http.requests[-1], passing=True)
        assert f"Credential={name}/" in sent["authorization"]
        assert sent["x-amz-security-token"] == "t" + name


def test_whoever_answers_before_sending_answers_each_request() -> None:
    client, wire, http, _ = make()

    def answer(request: Any, **_: Any) -> AWSResponse:
        assert request.headers["X-Amz-Target"] == b"AmazonSQS.ReceiveMessage"
        return AWSResponse(request.url, 200, {}, Raw(b'{"Messages": []}'))

    client.meta.events.register("before-send.sqs.ReceiveMessage", answer)
    for _ in range(3):
        assert wire.receive_message(QueueUrl=URL)["Messages"] == []

    assert wire.direct
    assert http.requests == []


def test_an_app_under_test_with_moto_stays_with_moto() -> None:
    from moto import mock_aws

    with mock_aws():
        mocked = boto3.Session("a", "b", region_name="eu-west-1")
        wire = SqsHttpClient(mocked.client("sqs"), mocked.get_credentials)
        url = wire.create_queue(QueueName="q")["QueueUrl"]
        sent = wire.send_message_batch(
            QueueUrl=url, Entries=[{"Id": "0", "MessageBody": "ä"}]
        )  # fmt: skip
        got = wire.receive_message(QueueUrl=url)

    assert wire.direct
    assert [each["MessageId"] for each in sent["Successful"]] == [
        each["MessageId"] for each in got["Messages"]
    ]
    assert got["Messages"][0]["Body"] == "ä"
