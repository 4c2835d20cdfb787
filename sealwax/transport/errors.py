"""What the transport raises, one class a cause.

Producers see these from `send_task`; the worker's consuming side never raises
them: there they are counted, backed off from, and reported to the liveness check.
"""

from __future__ import annotations

from sealwax.errors import ConfigurationError, SealwaxError

__all__ = [
    "DeadLetterQueueMissing",
    "MessageRefused",
    "MessageTooLarge",
    "PermissionMissing",
    "QueueMisconfigured",
    "QueueNotFound",
    "QueueUnreachable",
    "TransportError",
    "TransportOptionInvalid",
]


class TransportError(SealwaxError):
    """The SQS transport could not do this; see the chained cause."""


class QueueUnreachable(TransportError):
    """SQS did not confirm the message in time; it may or may not be queued: send it again."""


class QueueNotFound(TransportError):
    """The queue does not exist; create it, or name it in `broker_transport_options["queues"]`."""


class MessageRefused(TransportError):
    """No worker would read the message; the message of the error says what to change."""


class MessageTooLarge(TransportError):
    """The message exceeds the limit of one SQS message; send a reference instead of the data."""


class TransportOptionInvalid(ConfigurationError):
    """A transport option does not fit; see the message for its name and range."""


class QueueMisconfigured(ConfigurationError):
    """A queue's attributes contradict the transport's options; the message says what to set."""


class DeadLetterQueueMissing(QueueMisconfigured):
    """The queue has no dead-letter queue; give it a RedrivePolicy or set `dead_letter_queue`."""


class PermissionMissing(ConfigurationError):
    """The role may not do what the transport needs on this queue; the message names the action."""
