"""What becomes of a message after an attempt: three values."""

from __future__ import annotations

from dataclasses import dataclass

from sealwax.transport.dead_letters import DeadLetterReason

__all__ = ["Ack", "DeadLetter", "Disposition", "Postpone"]


@dataclass(frozen=True)
class Ack:
    """Delete it: its outcome is recorded."""


@dataclass(frozen=True)
class Postpone:
    """Make the same message visible again after `seconds`."""

    seconds: float


@dataclass(frozen=True)
class DeadLetter:
    """Send it to the dead-letter queue with its reason, then delete it."""

    reason: DeadLetterReason


Disposition = Ack | Postpone | DeadLetter
