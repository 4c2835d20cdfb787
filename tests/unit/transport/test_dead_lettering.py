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
