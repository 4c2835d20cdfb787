"""An SQS transport for Celery: batched, leased, and not to be broken by a message.

`Celery(broker="sealwax://", task_cls="sealwax.transport:Task")` after `import
sealwax.transport`. It loads neither settings nor keys of Sealwax: any Celery app can use it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kombu.transport import TRANSPORT_ALIASES

from sealwax.outcomes import Ack, DeadLetter, Outcome, Reason, Retry
from sealwax.transport.dead_letters import DeadLetterEvent, RefusedLetter
from sealwax.transport.engine import snapshot
from sealwax.transport.errors import (
    DeadLetterQueueMissing,
    MessageTooLarge,
    PermissionMissing,
    QueueMisconfigured,
    QueueNotFound,
    QueueUnreachable,
    TransportError,
    TransportOptionInvalid,
)
from sealwax.transport.options import QueueOptions, TransportOptions
from sealwax.transport.transport import Transport

if TYPE_CHECKING:
    from sealwax.transport.celery.task import Task

__all__ = [
    "Ack",
    "DeadLetter",
    "DeadLetterEvent",
    "DeadLetterQueueMissing",
    "MessageTooLarge",
    "Outcome",
    "PermissionMissing",
    "QueueMisconfigured",
    "QueueNotFound",
    "QueueOptions",
    "QueueUnreachable",
    "Reason",
    "RefusedLetter",
    "Retry",
    "Task",
    "Transport",
    "TransportError",
    "TransportOptionInvalid",
    "TransportOptions",
    "snapshot",
]

# kombu knows transports by the scheme of the URL; it has no other registry.
TRANSPORT_ALIASES["sealwax"] = "sealwax.transport:Transport"


def __getattr__(name: str) -> Any:
    """Load the task class when it is asked for: it brings Celery's worker."""
    if name == "Task":
        from sealwax.transport.celery.task import Task

        return Task
    raise AttributeError(f"module 'sealwax.transport' has no attribute {name!r}")
