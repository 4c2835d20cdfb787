"""Dead-letter attribute: how a dead letter says why it left its queue.

A dead letter is the original body and attributes plus one String attribute,
`sealwax-dead-letter`, with a JSON object. It never holds payload, exception
text or traceback. Written by the dead-letterer, read by the steward; within a
process a `sealwax.outcomes.DeadLetter` goes as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sealwax.outcomes import DeadLetter

__all__ = [
    "ATTRIBUTE",
    "DeadLetterEvent",
    "RefusedLetter",
    "attribute_members",
    "attribute_text",
]

#: Name of the message attribute.
ATTRIBUTE: Final = "sealwax-dead-letter"


@dataclass(frozen=True, kw_only=True)
class DeadLetterEvent:
    """A message that is about to be dead-lettered, for the `on_dead_letter` option.

    Parameters
    ----------
    letter
        Why.
    body
        The message's body as it was received.
    job, task
        As the message's headers name them; None where they could not be read.
    queue
        Logical name of the queue it leaves.
    """

    letter: DeadLetter
    job: str | None
    task: str | None
    queue: str
    message_id: str
    receive_count: int
    body: str
    body_bytes: int


@dataclass(frozen=True, kw_only=True)
class RefusedLetter(DeadLetterEvent):
    """A dead letter that the dead-letter queue will never take, for the `archive` option.

    Parameters
    ----------
    attributes
        The message's, as they were received.
    reason
        The value of `ATTRIBUTE` that it would have had, JSON.
    group
        Message group of a FIFO queue.
    code
        SQS's error code.
    """

    attributes: dict[str, Any]
    reason: str
    group: str | None
    code: str


def attribute_members(letter: DeadLetter, **more: Any) -> dict[str, Any]:
    """Return the members of the attribute's value; those that are None are left out.

    Parameters
    ----------
    more
        What the transport adds: `queue`, `at`, `message_id` and the like. They
        win over the letter's own.
    """
    fields = {
        **letter.details,
        "cause": letter.cause,
        "place": letter.place,
        "reason": letter.reason.value,
        "error": letter.error,
        "attempts": letter.attempts,
        "job": letter.job,
        **more,
    }
    return {name: value for name, value in fields.items() if value is not None}


def attribute_text(members: Mapping[str, Any]) -> str:
    """Return the attribute's value, a JSON object."""
    return json.dumps(members, separators=(",", ":"))
