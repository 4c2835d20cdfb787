"""kombu's message, which knows who rejects it: Celery's consumer or a task."""

from __future__ import annotations

from typing import Any

from kombu.transport import virtual

__all__ = ["Message"]

_BY_CONSUMER = object()


class Message(virtual.Message):
    """A received message."""

    def __init__(self, payload: Any, channel: Any = None, **kwargs: Any) -> None:
        super().__init__(payload, channel=channel, **kwargs)
        # The channel checked and decoded the body already.
        self.body = payload.get("body")

    def reject_log_error(self, logger: Any, errors: Any, requeue: Any = _BY_CONSUMER) -> None:
        """Reject.

        Celery's consumer calls it with two arguments, for a message that it
        does not know what to do with; a task's request with three.
        """
        if requeue is _BY_CONSUMER:
            if not self.acknowledged:
                self._state = "REJECTED"
                self.channel.unknown_task(self.delivery_tag, (self.headers or {}).get("task"))
            return
        super().reject_log_error(logger, errors, requeue)
