"""An SQS transport for Celery: batched, leased, and not to be broken by a message.

`Celery(broker="sealwax://", broker_transport_options={...})` after importing
this package (the task class does), or with `broker_transport="sealwax.transport:Transport"`.
Needs boto3 alone.
"""

from __future__ import annotations

from kombu.transport import TRANSPORT_ALIASES

from sealwax.transport.dead_letters import DeadLetterEvent, DeadLetterReason
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

__all__ = [
    "DeadLetterEvent",
    "DeadLetterQueueMissing",
    "DeadLetterReason",
    "MessageTooLarge",
    "PermissionMissing",
    "QueueMisconfigured",
    "QueueNotFound",
    "QueueOptions",
    "QueueUnreachable",
    "Transport",
    "TransportError",
    "TransportOptionInvalid",
    "TransportOptions",
    "snapshot",
]

# kombu knows transports by the scheme of the URL; it has no other registry.
TRANSPORT_ALIASES["sealwax"] = "sealwax.transport:Transport"
