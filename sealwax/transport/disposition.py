"""What is to become of a message after an attempt that ended without a result.

`Task.on_attempt_lost` and `Task.on_expired` answer with one of these; the
worker's request carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass

from sealwax.transport.dead_letters import DeadLetterReason

__all__ = ["Ack", "DeadLetter", "Disposition", "Postpone"]


@dataclass(frozen=True)
class Ack:
    """Delete the message: its outcome is recorded."""


@dataclass(frozen=True)
class Postpone:
    """Deliver the same message again after `seconds`."""

    seconds: float


@dataclass(frozen=True)
class DeadLetter:
    """Move the message to its dead-letter queue."""

    reason: DeadLetterReason


Disposition = Ack | Postpone | DeadLetter
