"""The fields of the message that a dead-letter queue gets."""

from __future__ import annotations

import json

from support.deliveries import delivery

from sealwax.outcomes import DeadLetter, Reason
from sealwax.transport.dead_lettering import letter_fields
from sealwax.transport.dead_letters import ATTRIBUTE


def test_a_dead_letter_keeps_the_attributes_and_says_which_were_dropped() -> None:
    many = {f"a{n}": {"DataType": "String", "StringValue": "v"} for n in range(10)}
    fields = letter_fields(
        delivery("m", attributes=many), DeadLetter(reason=Reason.REJECTED), now=1.0, fifo=False
    )
    assert len(fields["MessageAttributes"]) == 10
    letter = json.loads(fields["MessageAttributes"][ATTRIBUTE]["StringValue"])
    assert letter["dropped_attributes"] == ["a9"]
    assert letter["reason"] == "rejected"


def test_what_is_signed_is_the_whole_attribute_as_it_is_sent() -> None:
    many = {f"a{n}": {"DataType": "String", "StringValue": "v"} for n in range(3)}
    seen: list[dict[str, object]] = []

    def sign(members: dict[str, object]) -> dict[str, object]:
        seen.append(dict(members))
        return members | {"sig": "s"}

    fields = letter_fields(
        delivery("m", attributes=many), DeadLetter(reason=Reason.REJECTED, attempts=2),
        now=1.5, fifo=False, bare=True, sign=sign,
    )  # fmt: skip
    letter = json.loads(fields["MessageAttributes"][ATTRIBUTE]["StringValue"])
    assert letter == seen[0] | {"sig": "s"}
    assert (letter["attempts"], letter["at"]) == (2, 1.5)
    assert sorted(letter["dropped_attributes"]) == ["a0", "a1", "a2"]


def test_a_naked_letter_says_nothing_and_keeps_its_group() -> None:
    fields = letter_fields(
        delivery("m", attributes={"a": {"DataType": "String", "StringValue": "v"}}),
        DeadLetter(reason=Reason.REJECTED), now=1.0, fifo=True, naked=True,
    )  # fmt: skip
    assert set(fields) == {"MessageBody", "MessageGroupId", "MessageDeduplicationId"}
