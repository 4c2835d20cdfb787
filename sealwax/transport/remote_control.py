"""What SQS cannot do for Celery's remote control, events and commands: named, with what to use.

SQS has no fanout, no queues made for a moment, and no look at a single message.
To do nothing instead, or to try for ever, would pass for success.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from sealwax.transport.errors import TransportError

__all__ = [
    "EXCHANGES",
    "GET",
    "MIGRATE",
    "PURGE",
    "NotSupported",
    "celery_command",
    "on_broadcast",
    "on_deletion",
    "on_transient_queue",
]

#: Suffix of the exchanges of kombu's remote control.
PIDBOX = ".pidbox"

PURGE = (
    "This transport never empties a queue: accepted jobs would be lost without a word; "
    "`aws sqs purge-queue --queue-url URL` does."
)
GET = (
    "SQS has no look at a single message, a receive hides it from the workers; "
    "`aws sqs receive-message --queue-url URL` does that."
)
MIGRATE = (
    "`celery migrate` reads a broker until it is empty, which SQS never says; messages are moved "
    "between queues by `aws sqs start-message-move-task`, and workers of the old queue may go on "
    "until it is empty."
)
EXCHANGES = (
    "Exchanges and bindings live in one process's memory here, and queues are made by "
    "infrastructure code; send by `celery call TASK --queue=NAME`."
)

_CANCEL = (
    "a task that has not started ends by its `expires`, or looks at a mark of yours; a sealed job "
    "is cancelled by `sealwax jobs cancel ID`"
)
_ASK = (
    "a worker says how it is in its log and in the file that the transport option `liveness_file` "
    "names; `sealwax workers list` shows those of sealed lanes"
)
_STOP = "send the worker SIGTERM, as ECS does; `sealwax workers drain` does it for sealed lanes"
_SET = "set it in the app's configuration and start the workers anew"
_QUEUES = "name the queues by -Q and start the worker anew; `sealwax lanes pause` pauses a lane"

#: Commands of the remote control that change something, and what to use.
_INSTEAD = {
    "add_consumer": _QUEUES,
    "autoscale": "set the service's desired count, or its scaling policy",
    "cancel_consumer": _QUEUES,
    "election": _ASK,
    "pool_grow": "set the service's desired count, or its scaling policy",
    "pool_restart": _STOP,
    "pool_shrink": "set the service's desired count, or its scaling policy",
    "rate_limit": _SET,
    "revoke": _CANCEL,
    "revoke_by_stamped_headers": _CANCEL,
    "shutdown": _STOP,
    "terminate": _CANCEL,
    "time_limit": _SET,
    "enable_events": _ASK,
    "disable_events": _ASK,
}


class NotSupported(TransportError, click.ClickException):
    """SQS cannot do this; see the message for what to use instead.

    On a command line Celery prints the message alone.
    """

    #: sysexits' EX_UNAVAILABLE, as Celery's own commands end where nobody answers.
    exit_code = 69

    def __init__(self, message: str) -> None:
        click.ClickException.__init__(self, message)


def on_broadcast(exchange: str, message: Mapping[str, Any]) -> NotSupported:
    """Return the error for a message to a fanout exchange: of the remote control, or an app's."""
    if not exchange.endswith(PIDBOX):
        return NotSupported(
            f"SQS has no fanout, so nothing of exchange {exchange!r} would arrive; "
            "send one message for each queue."
        )
    try:
        found = json.loads(message["body"])["method"]
    except (KeyError, TypeError, ValueError):
        found = None
    # A name that a user's control command may have; the text is his own.
    method = found if isinstance(found, str) else "remote control"
    return NotSupported(
        f"Workers on SQS cannot be reached, so {method!r} has no effect: "
        f"{_INSTEAD.get(method, _ASK)}."
    )


def on_transient_queue(queue: str) -> NotSupported:
    """Return the error for receiving from a queue that would be made for the purpose."""
    if queue.startswith("celeryev"):
        return NotSupported(
            f"Celery's events are not sent over SQS, so there are none to show: {_ASK}."
        )
    return NotSupported(
        f"Queue {queue!r} would be made for a moment, and queues are made by infrastructure code; "
        "for results use a backend that is no broker, such as Redis or DynamoDB."
    )


def on_deletion(queue: str) -> NotSupported:
    """Return the error for deleting a queue."""
    return NotSupported(
        f"This transport never deletes a queue, {queue!r} neither: remove it from the "
        "infrastructure code."
    )


def celery_command() -> str:
    """Return which of Celery's commands runs in this thread; empty: none."""
    context = click.get_current_context(silent=True)
    while context is not None:
        if context.parent is not None and context.parent.parent is None:
            return context.command.name or ""
        context = context.parent
    return ""
