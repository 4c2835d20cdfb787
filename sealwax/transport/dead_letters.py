"""Dead letters: why a message leaves its queue for the dead-letter queue.

A dead letter is the original body and attributes plus one String attribute,
`sealwax-dead-letter`, with a JSON object. It never holds payload, exception
text or traceback.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

__all__ = [
    "ATTRIBUTE",
    "DeadLetterEvent",
    "DeadLetterReason",
    "Reason",
    "RefusedLetter",
    "parse_reason",
]

#: Name of the message attribute.
ATTRIBUTE: Final = "sealwax-dead-letter"

Reason = Literal[
    "rejected",
    "exhausted",
    "crashed",
    "unopenable",
    "unknown-job",
    "malformed",
    "unknown-task",
]

_REASONS = frozenset(get_args(Reason))


@dataclass(frozen=True, kw_only=True)
class DeadLetterReason:
    """Why a message is dead.

    Parameters
    ----------
    reason
        One of the seven.
    error
        A class name or short kebab-case cause; never an exception's text.
    attempts
        Attempts so far, where somebody counted.
    job
        Job id, where it could be read.
    details
        More JSON values for the attribute, such as a fingerprint.
    """

    reason: Reason
    error: str | None = None
    attempts: int | None = None
    job: str | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self, **more: Any) -> str:
        """Return the attribute's value; unset fields are left out."""
        fields = {
            **self.details,
            "reason": self.reason,
            "error": self.error,
            "attempts": self.attempts,
            "job": self.job,
            **more,
        }
        return json.dumps(
            {name: value for name, value in fields.items() if value is not None},
            separators=(",", ":"),
        )


@dataclass(frozen=True, kw_only=True)
class DeadLetterEvent:
    """What `on_dead_letter` is told before a message is dead-lettered."""

    reason: DeadLetterReason
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
    letter
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

    letter: DeadLetterEvent
    body: str
    attributes: dict[str, Any]
    reason: str
    group: str | None
    code: str


def parse_reason(value: object) -> DeadLetterReason | None:
    """Read the reason that a task put into `Reject`: a JSON object, or one of ours.

    None where it is anything else.
    """
    if isinstance(value, DeadLetterReason):
        return value
    if not isinstance(value, str) or not value.startswith("{"):
        return None
    try:
        fields = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or fields.get("reason") not in _REASONS:
        return None
    reason = fields.pop("reason")
    error = fields.pop("error", None)
    attempts = fields.pop("attempts", None)
    job = fields.pop("job", None)
    return DeadLetterReason(
        reason=reason,
        error=error if isinstance(error, str) else None,
        attempts=attempts if isinstance(attempts, int) else None,
        job=job if isinstance(job, str) else None,
        details=fields,
    )
