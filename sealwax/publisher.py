"""How a sealed job gets into its queue: one Celery message, nothing else in it.

Used by the API and by tasks that enqueue follow-ups. The envelope is the only
argument; what Celery would repeat of it in headers is masked.
"""

from __future__ import annotations

from typing import Any, Protocol

from kombu.exceptions import OperationalError

from sealwax.settings import Settings
from sealwax.task import TaskDefinition
from sealwax.transport.errors import QueueUnreachable, TransportError

__all__ = ["MASK", "CeleryPublisher", "Publisher"]

#: Stands where Celery would repeat the arguments in clear. Not empty: Celery
#: replaces an empty one by the arguments themselves.
MASK = "(sealed)"


class Publisher(Protocol):
    """Sends an envelope to a task's queue."""

    def publish(
        self, *, definition: TaskDefinition[Any], job_id: str, envelope: str, group: str
    ) -> None:
        """Return once the queue has the message.

        Parameters
        ----------
        group
            HMAC of the tenant, for lanes whose queue is fair.

        Raises
        ------
        sealwax.transport.errors.QueueUnreachable
            The queue may or may not have it.
        """


class CeleryPublisher:
    """Publishes through a Celery app on our transport."""

    def __init__(self, app: Any, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    def publish(
        self, *, definition: TaskDefinition[Any], job_id: str, envelope: str, group: str
    ) -> None:
        """Send one message; see `Publisher`."""
        fair = self._settings.lanes[definition.lane].fair
        properties = {"sealwax-group": group} if fair else {}
        try:
            self._app.send_task(
                definition.name,
                args=(envelope,),
                task_id=job_id,
                queue=self._settings.queue_name(definition.lane),
                argsrepr=MASK,
                kwargsrepr=MASK,
                # The transport tries again itself, in a bounded time.
                retry=False,
                ignore_result=True,
                **properties,
            )
        except OperationalError as error:
            # kombu's wrapping of what the transport raised.
            if isinstance(error.__cause__, TransportError):
                raise error.__cause__ from None
            raise QueueUnreachable from error
