"""Bodies as text: JSON, base64, depth."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.deadletters.letter import read_stray
from sealwax.transport.codec import MAX_DEPTH, Malformed, decode, depth, encode
from sealwax.transport.options import TransportOptions


@given(st.text())
def test_any_text_is_a_message_or_malformed(text: str) -> None:
    try:
        decode(text, max_depth=50)
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


def test_what_a_worker_takes_everybody_else_can_read() -> None:
    """A message with a job's envelope and a deep header must not die into an unreadable letter."""
    job = "0" * 32
    deep: object = "x"
    for _ in range(MAX_DEPTH - 2):
        deep = {"a": deep}
    text = json.dumps(
        {
            "body": '[["x"], {}, {}]',
            "headers": {"task": "t", "id": job, "mark": deep},
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "properties": {},
        }
    )
    assert depth(decode(text, max_depth=TransportOptions().max_depth)) == MAX_DEPTH
    letter, _ = read_stray({"MessageId": "m", "Body": text}, queue="q", now=1.0, cause="x")
    assert letter.claims == job
