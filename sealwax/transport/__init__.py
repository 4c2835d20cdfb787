"""An SQS transport for Celery: batched, leased, and not to be broken by a message.

`Celery(broker="sealwax://")`, in any Celery app: it loads neither settings nor
keys of Sealwax.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import signals

from sealwax.broker_scheme import register_scheme
from sealwax.outcomes import Ack, DeadLetter, Outcome, Reason, Retry
from sealwax.transport.dead_letters import DeadLetterEvent, RefusedLetter
from sealwax.transport.engine import snapshot
from sealwax.transport.errors import (
    DeadLetterQueueMissing,
    MessageRefused,
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
    "MessageRefused",
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

# Where Sealwax is not installed, but on the path, there is no entry point.
register_scheme()


def _adopt_in_worker(sender: Any, **_: Any) -> None:
    """Give every task of a worker this transport's behaviour, before its pool forks."""
    from sealwax.transport.celery.adoption import adopt_tasks

    try:
        adopt_tasks(sender.app)
    except Exception as error:
        # A signal's sender logs any other exception and goes on: messages would be lost.
        raise SystemExit(f"sealwax: {error}") from error


def _adopt_in_child(**_: Any) -> None:
    """Do the same in a child of the pool, for tasks that came after the worker's start."""
    from celery import current_app

    from sealwax.transport.celery.adoption import adopt_tasks

    adopt_tasks(current_app)


signals.worker_init.connect(_adopt_in_worker, weak=False)
signals.worker_process_init.connect(_adopt_in_child, weak=False)


def __getattr__(name: str) -> Any:
    """Load the task class when it is asked for: it brings Celery's worker."""
    if name == "Task":
        from sealwax.transport.celery.task import Task

        return Task
    raise AttributeError(f"module 'sealwax.transport' has no attribute {name!r}")
