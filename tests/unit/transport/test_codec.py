from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.transport.codec import Malformed, decode, depth, encode
from sealwax.transport.validation import check_message

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.text())
def test_any_text_is_a_message_or_malformed(text: str) -> None:
    try:
        decode(text, max_depth=50)
    except Malformed:
        return


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


def test_plain_and_base64_are_both_read() -> None:
    text = encode({"a": "ż"})
    assert text.isascii()
    assert decode(text, max_depth=5) == {"a": "ż"}
    assert decode(base64.b64encode(text.encode()).decode(), max_depth=5) == {"a": "ż"}


def test_the_depth_limit_holds_at_its_edge() -> None:
    def nested(levels: int) -> str:
        return '{"a":' * (levels - 1) + "{}" + "}" * (levels - 1)

    assert depth(json.loads(nested(7))) == 7
    decode(nested(7), max_depth=7)
    with pytest.raises(Malformed, match="too-deep"):
        decode(nested(8), max_depth=7)


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
