"""What kombu's channels declare, count, purge and delete: here nothing is made or emptied.

Queues are made by infrastructure code. What Celery declares on its way is taken
in silence; whoever asks for more is told what does it.
"""

from __future__ import annotations

import logging
from typing import Any

from kombu.transport import virtual
from kombu.transport.virtual.base import queue_declare_ok_t

from sealwax.transport.remote_control import (
    EXCHANGES,
    GET,
    MIGRATE,
    PURGE,
    NotSupported,
    celery_command,
    on_deletion,
)

__all__ = ["Declarations"]

logger = logging.getLogger(__name__)


class Declarations(virtual.Channel):
    """The half of a channel that declares."""

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        #: Queues declared for a moment: never made, so never received from.
        self.transient: set[str] = set()

    def queue_declare(self, queue: str = "", passive: bool = False, **kwargs: Any) -> Any:
        """Make no queue; passively, say whether there is one, and how many messages wait.

        Raises
        ------
        QueueNotFound
            `passive`, and it does not exist.
        QueueUnreachable
            `passive`, and SQS could not be asked.
        NotSupported
            `celery amqp` wants it made.
        """
        if celery_command() == "amqp" and not passive:
            raise NotSupported(EXCHANGES)
        if passive:
            if celery_command() == "migrate":
                raise NotSupported(MIGRATE)
            return queue_declare_ok_t(queue, self.engine.waiting(queue), 0)
        if kwargs.get("auto_delete"):
            self.transient.add(queue)
        return super().queue_declare(queue, **kwargs)

    def queue_bind(self, *args: Any, **kwargs: Any) -> None:
        """Bind in this process's memory."""
        if celery_command() == "amqp":
            raise NotSupported(EXCHANGES)
        super().queue_bind(*args, **kwargs)

    def exchange_declare(self, *args: Any, **kwargs: Any) -> None:
        """Declare in this process's memory."""
        if celery_command() == "amqp":
            raise NotSupported(EXCHANGES)
        super().exchange_declare(*args, **kwargs)

    def exchange_delete(self, *args: Any, **kwargs: Any) -> None:
        """Delete from this process's memory."""
        if celery_command() == "amqp":
            raise NotSupported(EXCHANGES)
        super().exchange_delete(*args, **kwargs)

    def queue_delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        """Raise: queues are deleted by infrastructure code. What was never made is forgotten."""
        if queue not in self.transient:
            raise on_deletion(queue)
        self.transient.discard(queue)
        self.state.queue_bindings_delete(queue)

    def _size(self, queue: str) -> int:
        return 0

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        """Do nothing: queues are made by infrastructure code."""

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        raise on_deletion(queue)

    def _purge(self, queue: str) -> int:
        if celery_command() == "worker":
            # The worker would print a traceback of anything else.
            logger.critical("--purge: %s", PURGE)
            raise SystemExit(NotSupported.exit_code)
        raise NotSupported(PURGE)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> None:
        """Raise: SQS has no look at a single message."""
        raise NotSupported(GET)
