"""A dead letter's reason in its message attribute, written and read."""

from __future__ import annotations

import pytest

from sealwax.outcomes import DeadLetter, Reason
from sealwax.transport.dead_letters import attribute_members, attribute_text, read_attribute


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        "text",
        "{",
        "[]",
        '{"reason":"else"}',
        '{"error":"x"}',
        '{"reason":[]}',
        '{"reason":"backstop"}',  # the steward's own word: no worker writes it
    ],
)
def test_what_is_no_reason_of_ours_is_none(value: object) -> None:
    assert read_attribute(value) is None


def test_a_letter_survives_its_attribute() -> None:
    letter = DeadLetter(
        reason=Reason.CRASHED, cause="c", error="WorkerLost", place="m.f", attempts=3, job="j",
        details={"fingerprint": "f"},
    )  # fmt: skip
    assert read_attribute(attribute_text(attribute_members(letter))) == letter


def test_the_attributes_text_is_what_older_stewards_read() -> None:
    letter = DeadLetter(reason=Reason.EXHAUSTED, cause="c", error="E", place="m.f", attempts=3)
    members = attribute_members(letter, job="j", task="t", at=1.5, dropped_attributes=None)
    assert attribute_text(members) == (
        '{"cause":"c","place":"m.f","reason":"exhausted","error":"E","attempts":3,"job":"j",'
        '"task":"t","at":1.5}'
    )


def test_fields_of_a_wrong_type_are_left_out_of_a_letter() -> None:
    found = read_attribute('{"reason":"rejected","cause":1,"error":[],"attempts":"x","at":2}')
    assert found == DeadLetter(reason=Reason.REJECTED, details={"at": 2})
