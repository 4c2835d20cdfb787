"""The direct way is left for good where botocore differs, and for as long as somebody traces."""

from __future__ import annotations

import gc
import logging
import zlib
from dataclasses import replace
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import HTTPClientError
from support.botocore_http import HttpSession, make_client, session

from sealwax.aws.direct_calls import BadAnswer, DirectCalls, NotDirect, WayTaken, ways_taken

ITEM = {"TableName": "jobs", "Key": {"id": {"S": "a"}}}


def learned() -> tuple[DirectCalls, Any, HttpSession]:
    """Return calls that have seen how their client's requests are made."""
    client, http, _ = make_client("dynamodb")
    calls = DirectCalls(client, session().get_credentials)
    assert not calls.ready
    client.get_item(**ITEM)
    assert calls.ready
    return calls, client, http


def raising(error: type[Exception]) -> Any:
    def other(*_: Any, **__: Any) -> Any:
        raise error("as a later release")

    return other


#: Parts of botocore that are not in its documentation, each of another kind than it is.
BROKEN = {
    "a request without `stream_output`": lambda calls, _: setattr(
        calls, "_request", lambda method, url, headers, body: None
    ),
    "headers that take no mapping": lambda calls, _: setattr(calls, "_headers", object),
    "a session that wants more": lambda _, http: setattr(
        http, "send", lambda request, *, timeout: None
    ),
    "an answer without a status": lambda _, http: setattr(http, "send", lambda _: object()),
    "a session without `send`": lambda calls, _: setattr(calls, "_http", object()),
    "credentials that freeze otherwise": lambda calls, _: setattr(calls, "_credentials", object),
    "a signer of another kind": lambda calls, _: setattr(
        calls, "_way", replace(calls._way, signer=object())
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_part_that_differs_leaves_all_calls_to_boto3(name: str, caplog: Any) -> None:
    calls, _, http = learned()
    BROKEN[name](calls, http)

    with caplog.at_level(logging.WARNING), pytest.raises(NotDirect):
        calls.send("GetItem", ITEM)

    assert not calls.ready
    with pytest.raises(NotDirect):
        calls.send("GetItem", ITEM)
    assert len(caplog.records) == 1
    assert "differs" in caplog.text


@pytest.mark.parametrize("error", [TypeError, AttributeError, KeyError, NotImplementedError])
def test_an_error_whose_class_is_made_otherwise_is_boto3s(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    calls, client, http = learned()
    http.status, http.body = 400, b'{"__type": "x#ValidationException"}'
    # Botocore keeps one for all clients of a service.
    monkeypatch.setattr(client.exceptions, "from_code", raising(error))

    with pytest.raises(NotDirect):
        calls.send("GetItem", ITEM)

    assert not calls.ready


@pytest.mark.parametrize("part", ["create_parser", "AWSPreparedRequest", "HeadersDict"])
def test_a_part_that_is_gone_leaves_all_calls_to_boto3(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    module = "botocore.parsers" if part == "create_parser" else "botocore.awsrequest"
    client, _, _ = make_client("dynamodb")
    monkeypatch.delattr(f"{module}.{part}")

    calls = DirectCalls(client, session().get_credentials)

    assert not calls.ready
    with pytest.raises(NotDirect):
        calls.send("GetItem", ITEM)


def test_what_the_way_is_learned_from_may_differ() -> None:
    client, _, _ = make_client("dynamodb")
    calls = DirectCalls(client, session().get_credentials)

    calls._learn(object())
    client.get_item(**ITEM)

    assert not calls.ready


def test_another_protocol_is_boto3s() -> None:
    client, http, _ = make_client("sts")
    http.body = b"<r><GetCallerIdentityResult/></r>"

    calls = DirectCalls(client, session().get_credentials)
    client.get_caller_identity()

    assert not calls.ready


def test_no_network_trouble_is_taken_for_another_botocore() -> None:
    calls, _, http = learned()

    def cut(request: Any) -> Any:
        raise HTTPClientError(error="cut")

    http.send = cut  # type: ignore[method-assign]
    with pytest.raises(HTTPClientError):
        calls.send("GetItem", ITEM)

    assert calls.ready


def test_while_somebody_traces_boto3_calls_are_boto3s(monkeypatch: pytest.MonkeyPatch) -> None:
    import functools

    calls, _, _ = learned()
    with monkeypatch.context() as patched:
        plain = BaseClient._make_api_call  # type: ignore[attr-defined]

        @functools.wraps(plain)
        def traced(*arguments: Any, **more: Any) -> Any:
            return plain(*arguments, **more)

        patched.setattr(BaseClient, "_make_api_call", traced)
        assert not calls.ready

    assert calls.ready


def test_clients_are_told_by_service_and_by_the_way_that_they_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def made(way: WayTaken) -> int:
        return ways_taken()["dynamodb", way] - before["dynamodb", way]

    # Clients of other tests must not go in between.
    gc.collect()
    before = ways_taken()
    client, _, _ = make_client("dynamodb")
    calls = DirectCalls(client, session().get_credentials)
    assert (calls.taken, made("unknown")) == ("unknown", 1)
    client.get_item(**ITEM)
    assert (calls.taken, made("direct"), made("unknown")) == ("direct", 1, 0)
    with monkeypatch.context() as patched:
        patched.setattr(BaseClient, "_make_api_call", lambda *_: {})
        assert calls.taken == "traced"
    calls._request = object
    with pytest.raises(NotDirect):
        calls.send("GetItem", ITEM)
    assert (calls.taken, made("direct"), made("differs")) == ("differs", 0, 1)


@pytest.mark.parametrize(
    ("checksum", "whole"), [(None, True), ("right", True), ("1", False), ("none", False)]
)
def test_an_answer_is_held_to_its_checksum(checksum: str | None, whole: bool) -> None:
    calls, _, http = learned()
    http.body = b'{"Item": {"id": {"S": "a"}}}'
    if checksum is not None:
        right = str(zlib.crc32(http.body))
        http.headers["x-amz-crc32"] = right if checksum == "right" else checksum
    if whole:
        assert calls.send("GetItem", ITEM) == {"Item": {"id": {"S": "a"}}}
        return
    with pytest.raises(BadAnswer):
        calls.send("GetItem", ITEM)
    assert calls.ready


def test_what_is_no_json_is_the_callers_mistake() -> None:
    calls, _, _ = learned()

    with pytest.raises(TypeError, match="no JSON for object"):
        calls.send("GetItem", {"Key": object()})

    assert calls.ready
