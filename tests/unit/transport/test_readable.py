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
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu.compression import compress
from kombu.serialization import dumps, loads
from support.foreign_values import FOREIGN, SHADOWING

from sealwax.transport.codec import Malformed, decode, encode
from sealwax.transport.errors import MessageRefused
from sealwax.transport.options import TransportOptions
from sealwax.transport.readable import check_readable
from sealwax.transport.validation import check_message, is_plain

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


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


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


class Size(IntEnum):
    SMALL = 1


UID = UUID(int=7)


#: What stock Celery's JSON takes along, by type tags or as it is.
VALUES: list[Any] = [
    float("nan"), float("inf"), -float("inf"), [{"a": [float("nan")]}], 1e-320, -0.0, 10**300,
    b"bytes", b"\xff\x00", datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC), date(2030, 1, 2),
    datetime.fromisoformat("0001-01-01"), time(3, 4, 5), UID, Decimal("1.10"), Decimal("NaN"),
    (1, (2,)), Pair(1, 2), Text("text"), Size.SMALL, {1: 2},
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


# -- senders and workers agree


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
moments = st.sampled_from(
    [None, "2030-01-01T00:00:00", "soon", "", 5, "9999-12-31T23:59:59", "1970-01-01", "٣", [1]]
)
names = st.text(max_size=6) | st.sampled_from(
    [*SHADOWING, "id", "task", "retries", "eta", "expires", "timelimit", "stamps", "shadow",
     "stamped_headers", "group", "root_id", "origin", "argsrepr", "compression", "_x"]
)  # fmt: skip
embeds = st.fixed_dictionaries(
    {"callbacks": st.none() | st.just([{"task": "t"}]) | values, "errbacks": st.none() | values,
     "chain": st.none() | values, "chord": st.none() | values},
    optional={"group": values, "library": values},
)  # fmt: skip
identities: st.SearchStrategy[Any] = st.sampled_from(
    ["i", "", " ", "x" * 1_025, "é", "\ud83d", 5, 1.5, True, None, []]
)


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    """Messages as Celery's clients write them, with one or more things that are odd."""
    job = draw(st.just("i") | identities)
    made = app.amqp.as_task_v2("i", "t", args=(), kwargs={}, argsrepr="()", kwargsrepr="{}")
    headers = {**made.headers, "id": job, **draw(st.dictionaries(names, values, max_size=2))}
    headers |= {name: draw(moments) for name in draw(st.sets(st.sampled_from(["eta", "expires"])))}
    if draw(st.booleans()):
        headers["task"] = draw(identities)
    args = draw(st.lists(values, max_size=3))
    body: Any = (args, draw(st.dictionaries(st.text(max_size=5), values, max_size=2)), made.body[2])
    if draw(st.booleans()):
        body = (draw(values), {}, draw(embeds))
    priority = draw(st.sampled_from([None, 0, 9, -1, 300, "high", 10**30]))
    more = draw(st.dictionaries(st.text(max_size=6), values, max_size=2))
    return {
        "body": draw(st.just(json.dumps(body)) | st.text(max_size=5)),
        "content-type": draw(st.sampled_from(["application/json", "application/json", "text/x"])),
        "content-encoding": draw(st.sampled_from(["utf-8", "utf-8", "us-ascii", "binary", None])),
        "headers": headers,
        "properties": {
            **more,
            "priority": priority,
            "delivery_info": {"exchange": "", "routing_key": "q"},
        },
    }


def is_sent(message: dict[str, Any]) -> bool:
    """Whether the channel would send it; it asks this."""
    try:
        if not is_plain(message, USUAL.max_depth):
            check_readable(message, USUAL)
    except MessageRefused:
        return False
    return True


def is_read(message: dict[str, Any]) -> bool:
    try:
        received = decode(encode(message), max_depth=USUAL.max_depth)
        check_message(received, accept=USUAL.accept, max_depth=USUAL.max_depth)
    except Malformed:
        return False
    return True


@settings(max_examples=400)
@given(messages())
def test_what_is_sent_is_read_and_what_is_not_read_is_not_sent(message: dict[str, Any]) -> None:
    assert is_sent(message) == is_read(message)


@pytest.mark.parametrize("name", FOREIGN)
def test_what_libraries_put_into_messages_is_sent(name: str) -> None:
    headers, properties, embed = FOREIGN[name]
    message = sent(1)
    message["headers"] |= headers
    message["properties"] |= properties
    message["body"] = json.dumps([[1], {}, embed])
    assert is_sent(message)


def test_a_call_without_options_is_known_without_a_look_at_its_body() -> None:
    made = app.amqp.as_task_v2("i", "t", args=(1, "NaN"), kwargs={"a": [1]})
    message = sent(1)
    message["headers"], message["body"] = made.headers, json.dumps(made.body)
    assert is_plain(message, 900)
    assert is_read(message)


@pytest.mark.parametrize(
    ("headers", "advice"),
    [
        *(({name: 1}, rf"\({name}\)") for name in SHADOWING),
        ({"x": deep(450)}, "450 levels"),
        ({"x": deep(930)}, "450 levels"),
        ({"x": deep(100_000)}, "450 levels"),
        ({"id": ""}, "id is"),
        ({"id": None}, "id is"),
        ({"task": "x" * 1_025}, "name is"),
        ({"retries": 2**31}, "retries"),
        ({"timelimit": [-1, None]}, "time limits"),
        ({"eta": "soon"}, "eta"),
        ({"expires": 5}, "expires"),
        ({"stamped_headers": [[]]}, "stamped_headers"),
        ({"stamped_headers": ["a"], "stamps": [1]}, "stamps"),
        ({"shadow": ["x"]}, "shadow"),
        ({"compression": "zstd"}, "zstd"),
        ({"compression": [None]}, r"\[None\]"),
        ({"compression": {"a": 1}}, "'a'"),
    ],
)
def test_a_sender_is_told_what_to_change_in_a_header(headers: dict[str, Any], advice: str) -> None:
    message = sent(1)
    message["headers"] |= headers
    with pytest.raises(MessageRefused, match=advice):
        check_readable(message, USUAL)


def test_properties_have_the_bound_of_headers() -> None:
    message = sent(1)
    message["properties"]["x"] = deep(449)
    check_readable(message, USUAL)
    message["properties"]["x"] = deep(450)
    with pytest.raises(MessageRefused, match="450 levels"):
        check_readable(message, USUAL)


def test_an_unknown_compression_is_named() -> None:
    message = sent(1)
    message["headers"]["compression"] = "application/zstd"
    with pytest.raises(MessageRefused, match=r"application/zstd.*gzip, bzip2 or lzma"):
        check_readable(message, USUAL)
