from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.deadletters.letter import explain, letter_key, read

JOB = "0123456789abcdef0123456789abcdef"


def message(body: str, said: dict | None) -> dict:
    attributes = {}
    if said is not None:
        attributes["sealwax-dead-letter"] = {"DataType": "String", "StringValue": json.dumps(said)}
    return {"MessageId": "m1", "Body": body, "MessageAttributes": attributes}


def test_payload_never_reaches_the_fingerprint_nor_the_name():
    said = {"reason": "rejected", "error": "Rejected", "cause": "http-400", "job": JOB, "task": "a"}
    one, _ = read(message('{"a":"canary"}', said), queue="q", now=1.0)
    two, _ = read(message('{"b":"other"}', said), queue="q", now=2.0)
    assert one.group == two.group
    assert "canary" not in repr(one)
    assert (
        read(message("{}", said | {"cause": "http-404"}), queue="q", now=1.0)[0].group != one.group
    )
    assert (
        read(message("{}", said | {"place": "tasks.x:f"}), queue="q", now=1.0)[0].group != one.group
    )


def test_free_text_in_the_attribute_is_left_out():
    said = {"reason": "rejected", "error": "no such customer: Ann", "cause": "x y", "place": "a b"}
    letter, _ = read(message("{}", said), queue="q", now=1.0)
    assert (letter.error, letter.cause, letter.place) == (None, None, None)


@given(body=st.text(max_size=200), said=st.none() | st.dictionaries(st.text(), st.integers()))
def test_anything_at_all_becomes_a_letter_with_its_body(body, said):
    letter, text = read(message(body, said), queue="q", now=1.0)
    assert text.body == body.encode("utf-8", "surrogatepass")
    assert letter_key(letter.id) is not None
    assert explain(letter).endswith(".")


@pytest.mark.parametrize(
    ("reason", "error", "words"),
    [
        ("malformed", "not-json", "neither JSON nor"),
        ("malformed", "timelimit", "'timelimit' is wrong"),
        ("exhausted", "ReadTimeout", "used up its attempts"),
        ("unknown-task", None, "No worker"),
    ],
)
def test_every_reason_reads_as_a_sentence(reason, error, words):
    letter, _ = read(message("{}", {"reason": reason, "error": error}), queue="q", now=1.0)
    assert words in explain(letter)
