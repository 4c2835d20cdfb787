"""Dead letters: why a message leaves its queue for the dead-letter queue.

A dead letter is the original body and attributes plus one String attribute,
`sealwax-dead-letter`, with a JSON object. It never holds payload, exception
text or traceback.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from sealwax.outcomes import DeadLetter, Reason

__all__ = ["ATTRIBUTE", "DeadLetterEvent", "RefusedLetter", "read_json", "to_json"]

#: Name of the message attribute.
ATTRIBUTE: Final = "sealwax-dead-letter"

#: What a worker may say; the steward alone says `backstop`.
_REASONS = frozenset(Reason) - {Reason.BACKSTOP}


@dataclass(frozen=True, kw_only=True)
class DeadLetterEvent:
    """What `on_dead_letter` is told before a message is dead-lettered."""

    letter: DeadLetter
    job: str | None
    task: str | None
    queue: str
    message_id: str
    receive_count: int
    body_bytes: int


@dataclass(frozen=True, kw_only=True)
class RefusedLetter:
    """A dead letter that the dead-letter queue will never take, for the `archive` option.

    Parameters
    ----------
    event
        What and why.
    body, attributes
        The message as it was received, whole.
    reason
        The value of `ATTRIBUTE` that it would have had, JSON.
    group
        Message group of a FIFO queue.
    code
        SQS's error code.
    """

    event: DeadLetterEvent
    body: str
    attributes: dict[str, Any]
    reason: str
    group: str | None
    code: str


def to_json(letter: DeadLetter, **more: Any) -> str:
    """Return the attribute's value; what is not set is left out, `more` goes before the letter."""
    fields = {
        "task": letter.task,
        "cause": letter.cause,
        "place": letter.place,
        "reason": letter.reason.value,
        "error": letter.error,
        "attempts": letter.attempts,
        "job": letter.job,
        **more,
    }
    return json.dumps(
        {name: value for name, value in fields.items() if value is not None},
        separators=(",", ":"),
    )


def read_json(text: object) -> tuple[DeadLetter, dict[str, Any]] | None:
    """Read the attribute's value: the letter, and what else stands there.

    None where it is anything else.
    """
    if not isinstance(text, str) or not text.startswith("{"):
        return None
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or fields.get("reason") not in _REASONS:
        return None
    texts: dict[str, str | None] = {}
    for name in ("cause", "error", "place", "job", "task"):
        value = fields.pop(name, None)
        texts[name] = value if isinstance(value, str) else None
    attempts = fields.pop("attempts", None)
    letter = DeadLetter(
        reason=Reason(fields.pop("reason")),
        attempts=attempts if type(attempts) is int else None,
        **texts,
    )
    return letter, fields
