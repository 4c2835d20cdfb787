"""What a sender is refused is what a worker would not read, and nothing else."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import IntEnum
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from celery import Celery, signature
from kombu.compression import compress
from kombu.serialization import dumps, loads

from sealwax.transport.codec import Malformed, decode, encode
from sealwax.transport.errors import MessageRefused
from sealwax.transport.options import TransportOptions
from sealwax.transport.readable import check_readable
from sealwax.transport.validation import check_message

app = Celery("sender", broker="memory://", set_as_current=False)


def sent(
    *args: Any,
    serializer: str = "json",
    compression: str | None = None,
    link: Any = None,
    raw: str | None = None,
) -> dict[str, Any]:
    """Return the message of a call, as Celery and kombu compose it."""
    body: Any = ([*args], {}, {"callbacks": link and [link], "chain": None, "chord": None})
    content_type, encoding, data = dumps(body, serializer=serializer)
    headers: dict[str, Any] = {"task": "t", "id": "i"}
    properties: dict[str, Any] = {}
    if raw is not None:
        data = raw
    if compression is not None:
        text = data.encode() if isinstance(data, str) else data
        data, headers["compression"] = compress(text, compression)
    if isinstance(data, bytes):
        from base64 import b64encode

        data, properties["body_encoding"] = b64encode(data).decode(), "base64"
    return {
        "body": data,
        "content-type": content_type,
        "content-encoding": encoding,
        "headers": headers,
        "properties": properties,
    }


def linked(depth: int) -> Any:
    found = signature("last", app=app)
    for _ in range(depth):
        found = signature("next", app=app, options={"link": [found]})
    return json.loads(json.dumps(found))


PICKLE = TransportOptions(accept=("application/json", "application/x-python-serialize"))
SMALL = TransportOptions(inflated_bytes=1_000)
SHALLOW = TransportOptions(max_depth=100)
USUAL = TransportOptions()


@pytest.mark.parametrize(
    ("message", "options", "advice"),
    [
        (sent(float("nan")), USUAL, None),
        (sent([{"a": float("inf")}]), USUAL, None),
        (sent(-float("inf")), USUAL, None),
        (sent(float("nan"), compression="bzip2"), USUAL, None),
        (sent(raw="[[NaNa],{},{}]" + "[" * 100), USUAL, "no JSON"),
        (sent("NaN, Infinity and -Infinity"), USUAL, None),
        (sent(1, compression="gzip"), USUAL, None),
        (sent(1, compression="zlib"), USUAL, None),
        (sent(1, compression="bzip2"), USUAL, None),
        (sent(1, compression="lzma"), USUAL, None),
        (sent("x" * 900, compression="bzip2"), SMALL, None),
        (sent("x" * 1_000, compression="gzip"), SMALL, "inflated_bytes"),
        (sent("x" * 1_000, compression="bzip2"), SMALL, "inflated_bytes"),
        (sent("x" * 1_000, compression="lzma"), SMALL, "inflated_bytes"),
        (sent(1, serializer="pickle"), USUAL, '"accept"'),
        (sent(1, serializer="pickle"), PICKLE, None),
        (sent(1, serializer="yaml"), USUAL, '"accept"'),
        (sent(link=linked(31)), USUAL, None),
        (sent(link=linked(33)), SHALLOW, "max_depth"),
        (sent(link=linked(33)), USUAL, None),
        (sent(link=linked(200)), USUAL, None),
        (sent(link=linked(297)), USUAL, None),
        (sent(link=linked(300)), USUAL, "max_depth"),
        (sent(raw="[[" + "[" * 98 + "]" * 98 + "],{},{}]"), SHALLOW, None),
        (sent(raw="[[" + "[" * 99 + "]" * 99 + "],{},{}]"), SHALLOW, "max_depth"),
        (sent(raw="[[" + "[" * 898 + "]" * 898 + "],{},{}]"), USUAL, None),
        (sent(raw="[[" + "[" * 899 + "]" * 899 + "],{},{}]"), USUAL, "max_depth"),
        (sent(raw="[[" + "[" * 100_000 + "]" * 100_000 + "],{},{}]"), USUAL, "max_depth"),
        (sent(raw='{"a":' * 100_000 + "1" + "}" * 100_000), USUAL, "max_depth"),
        (sent("[" * 5_000), USUAL, None),
    ],
)
def test_sender_and_worker_agree_on_what_is_read(
    message: dict[str, Any], options: TransportOptions, advice: str | None
) -> None:
    before = json.dumps(message)
    if advice is None:
        check_readable(message, options)
    else:
        with pytest.raises(MessageRefused, match=advice):
            check_readable(message, options)
    assert json.dumps(message) == before

    def read() -> None:
        check_message(
            json.loads(before),
            accept=options.accept,
            max_depth=options.max_depth,
            inflated_bytes=options.inflated_bytes,
        )

    if advice is None:
        read()
    else:
        with pytest.raises(Malformed):
            read()


class Text(str):
    __slots__ = ()


class Pair(NamedTuple):
    a: int
    b: int


UID = UUID(int=7)


#: What stock Celery's JSON takes along, by type tags or as it is.
VALUES: list[Any] = [
    float("nan"), float("inf"), -float("inf"), [{"a": [float("nan")]}], 1e-320, -0.0, 10**300,
    b"bytes", b"\xff\x00", datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC), date(2030, 1, 2),
    datetime.fromisoformat("0001-01-01"), time(3, 4, 5), UID, Decimal("1.10"), Decimal("NaN"),
    (1, (2,)), Pair(1, 2), Text("text"), IntEnum("Size", "SMALL").SMALL, {1: 2},
    {None: True, 1.5: False}, "\ud83d", "\x00\u2028", "NaN", {"__type__": "other"},
    {"a": {UID.hex: [UID]}},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_arrives_as_with_stock_celery(value: Any) -> None:
    """Stock's way is its serializer and back, whatever the broker."""
    message = sent(value, value)
    stock = loads(message["body"], "application/json", "utf-8")
    check_readable(message, USUAL)
    received = decode(encode(message))
    check_message(received, accept=USUAL.accept)
    ours = loads(received["body"], received["content-type"], received["content-encoding"])
    assert repr(ours) == repr(stock)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_header_may_be_no_number(value: float) -> None:
    message = sent(1)
    message["headers"]["x-rate"] = {"a": [value]}
    check_readable(message, USUAL)
    received = decode(encode(message))
    check_message(received, accept=USUAL.accept)
    assert repr(received["headers"]["x-rate"]) == repr({"a": [value]})


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1,[NaN]"])
def test_what_our_own_senders_send_has_no_words_beyond_json(number: str) -> None:
    with pytest.raises(Malformed, match="not-json"):
        check_message(sent(raw=f"[[{number}],{{}},{{}}]"), accept=USUAL.accept, strict=True)


def test_an_unknown_compression_is_named() -> None:
    message = sent(1)
    message["headers"]["compression"] = "application/zstd"
    with pytest.raises(MessageRefused, match=r"application/zstd.*gzip, bzip2 or lzma"):
        check_readable(message, USUAL)
