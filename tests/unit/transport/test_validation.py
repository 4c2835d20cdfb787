"""Which messages are read: fields, depth, and compressed bodies up to a limit."""

from __future__ import annotations

import base64
import json
import pickle
import time
import zlib
from datetime import UTC, datetime

import pytest
from celery.utils.time import maybe_iso8601, maybe_make_aware, timezone
from hypothesis import given
from hypothesis import strategies as st
from kombu.asynchronous.timer import to_timestamp
from support.foreign_values import FOREIGN, SHADOWING

from sealwax.transport.codec import Malformed
from sealwax.transport.validation import check_message, eta_of


@pytest.mark.parametrize(("limit", "refused"), [(0, True), (15, True), (16, False)])
def test_a_compressed_body_is_inflated_up_to_the_limit_only(limit: int, refused: bool) -> None:
    body = b"[[], {}, {}]    "
    assert len(body) == 16
    payload = {
        "headers": {"task": "t", "id": "i", "compression": "gzip"},
        "properties": {"body_encoding": "base64"},
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "body": base64.b64encode(zlib.compress(body)).decode(),
    }
    check = {"accept": ("application/json",), "max_depth": 10, "inflated_bytes": limit}
    if refused:
        with pytest.raises(Malformed, match="compression"):
            check_message(payload, **check)
    else:
        check_message(payload, **check)
        assert payload["body"] == body


def message(
    headers: dict[str, object], properties: dict[str, object], embed: object
) -> dict[str, object]:
    return {
        "headers": {"task": "t", "id": "i", **headers}, "properties": properties,
        "body": json.dumps([[], {}, embed]), "content-type": "application/json",
        "content-encoding": "utf-8",
    }  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_what_libraries_put_into_messages_passes(name: str) -> None:
    check_message(message(*FOREIGN[name]), accept=("application/json",))


@pytest.mark.parametrize("name", SHADOWING)
def test_what_shadows_the_request_context_is_refused(name: str) -> None:
    with pytest.raises(Malformed, match="header-name"):
        check_message(message({name: 1}, {}, {}), accept=("application/json",))
    with pytest.raises(Malformed, match="embed"):
        check_message(message({}, {}, {name: 1}), accept=("application/json",))


@pytest.mark.parametrize(
    ("headers", "embed", "kind"),
    [
        ({"_x": 1}, {}, "header-name"),
        ({"half: \ud83d": 1}, {}, "header-name"),
        ({"id": 5}, {}, "id"),
        ({"retries": -1}, {}, "retries"),
        ({"retries": 0.5}, {}, "retries"),
        ({}, {"library": 1}, "embed"),
    ],
)
def test_what_our_own_senders_never_write_is_refused_where_nobody_else_does(
    headers: dict[str, object], embed: object, kind: str
) -> None:
    check_message(message(headers, {}, embed), accept=("application/json",))
    with pytest.raises(Malformed, match=kind):
        check_message(message(headers, {}, embed), accept=("application/json",), strict=True)


@pytest.mark.parametrize(("levels", "refused"), [(449, False), (450, True), (880, True)])
def test_headers_are_no_deeper_than_a_child_can_be_handed_them(levels: int, refused: bool) -> None:
    value: object = 1
    for _ in range(levels):
        value = [value]
    deep = message({"x": value}, {}, {})
    if refused:
        with pytest.raises(Malformed, match="header-depth"):
            check_message(deep, accept=("application/json",))
    else:
        check_message(deep, accept=("application/json",))
        pickle.dumps(deep)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), json_values, max_size=6))
def test_any_object_passes_the_check_or_is_malformed(payload: dict[str, object]) -> None:
    try:
        check_message(payload, accept=("application/json",), max_depth=50)
    except Malformed:
        return


FIELDS = ["id", "task", "eta", "expires", "retries", "timelimit", "group", "group_index", "stamps",
          "stamped_headers", "root_id", "parent_id", "origin", "shadow", "compression"]  # fmt: skip


@given(st.dictionaries(st.sampled_from(FIELDS), json_values), json_values)
def test_any_header_and_body_pass_or_are_malformed(
    headers: dict[str, object], body: object
) -> None:
    payload = {
        "headers": {"task": "t", "id": "i", **headers}, "properties": {},
        "body": json.dumps(body), "content-type": "application/json",
        "content-encoding": "utf-8",
    }  # fmt: skip
    try:
        check_message(payload, accept=("application/json",), max_depth=50)
    except Malformed:
        return


def test_compressed_bodies_are_read_and_bombs_refused() -> None:
    import zlib

    def payload(data: bytes) -> dict[str, object]:
        return {
            "headers": {"task": "t", "id": "i", "compression": "application/x-gzip"},
            "properties": {"body_encoding": "base64"},
            "body": base64.b64encode(zlib.compress(data)).decode(),
            "content-type": "application/json", "content-encoding": "utf-8",
        }  # fmt: skip

    good = payload(b"[[1],{},{}]")
    check_message(good, accept=("application/json",), max_depth=50)
    assert good["body"] == b"[[1],{},{}]"
    with pytest.raises(Malformed, match="compression"):
        check_message(payload(b" " * 2**25), accept=("application/json",), max_depth=50)


@pytest.mark.parametrize(
    "zone", ["Asia/Tokyo", "America/New_York", "UTC", "Pacific/Kiritimati", "Asia/Kolkata"]
)
@pytest.mark.parametrize(
    "text",
    [
        "2030-01-01T09:00:00",
        "2030-07-01T09:00:00.250000",
        "2030-03-10T02:30:00",  # does not exist in New York
        "20300101T090000",
        "2030-01-01 09:00",
    ],
)
def test_a_naive_eta_is_utc_wherever_the_worker_is(
    monkeypatch: pytest.MonkeyPatch, zone: str, text: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        found = eta_of({"eta": text})
        stock = to_timestamp(
            timezone.to_system(maybe_make_aware(maybe_iso8601(text))), time=time.time
        )
    finally:
        monkeypatch.undo()
        time.tzset()
    assert found == datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    assert stock == pytest.approx(found, abs=1)
