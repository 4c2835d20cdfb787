"""A dead letter's reason in its message attribute."""

from __future__ import annotations

import json

from sealwax.outcomes import DeadLetter, Reason
from sealwax.transport.dead_letters import attribute_members, attribute_text


def test_the_attribute_says_why_and_where_and_leaves_out_what_is_not_known() -> None:
    letter = DeadLetter(reason=Reason.EXHAUSTED, cause="c", error="E", place="m.f", attempts=3)
    members = attribute_members(letter, job="j", task="t", at=1.5, dropped_attributes=None)
    assert attribute_text(members) == (
        '{"cause":"c","place":"m.f","reason":"exhausted","error":"E","attempts":3,"job":"j",'
        '"task":"t","at":1.5}'
    )


def test_what_the_transport_knows_wins_over_a_letters_details() -> None:
    letter = DeadLetter(reason=Reason.CRASHED, details={"queue": "told", "mine": "kept"})
    said = json.loads(attribute_text(attribute_members(letter, queue="q")))
    assert said == {"reason": "crashed", "queue": "q", "mine": "kept"}
