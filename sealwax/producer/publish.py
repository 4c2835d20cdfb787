"""How a sealed job gets into its queue: one Celery message, nothing else in it.

Used by the API and by tasks that enqueue follow-ups. The envelope is the only
argument; what Celery would repeat of it in headers is masked. What is to be
sent later, or cannot be sent now, is the same message in the outbox.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from kombu.exceptions import OperationalError
from kombu.serialization import dumps

from sealwax.outbox.store import Item, Outbox
from sealwax.producer.circuit_breaker import CircuitBreaker
from sealwax.settings import Settings
from sealwax.task_definition import TaskDefinition
from sealwax.transport.errors import QueueUnreachable, TransportError

__all__ = [
    "MASK", "CeleryPublisher", "CircuitBreakerPublisher", "Deferral", "Publisher", "QueuedJob",
]  # fmt: skip

#: Stands where Celery would repeat the arguments in clear. Not empty: Celery
#: replaces an empty one by the arguments themselves.
MASK = "(sealed)"


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """A sealed job on its way to its queue.

    Parameters
    ----------
    envelope
        The message's only argument: an envelope, or a reference to one.
    group
        Keyed hash of the tenant, for lanes whose queue is fair.
    delay
        Seconds until SQS delivers it, at most 900; not on FIFO queues.
    """

    definition: TaskDefinition[Any]
    job_id: str
    envelope: str
    group: str
    delay: float = 0.0


class Publisher(Protocol):
    """Sends a job to its task's queue."""

    def publish(self, job: QueuedJob) -> None:
        """Return once the queue has the message.

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

    def publish(self, job: QueuedJob) -> None:
        """Send one message; see `Publisher`."""
        definition = job.definition
        fair = self._settings.lanes[definition.lane].fair
        properties: dict[str, Any] = {"sealwax-group": job.group} if fair else {}
        if job.delay > 0:
            properties["delay_seconds"] = job.delay
        try:
            self._app.send_task(
                definition.name,
                args=(job.envelope,),
                task_id=job.job_id,
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


class CircuitBreakerPublisher:
    """A publisher that does not ask a queue again which has just not answered.

    Without it every caller would wait for the time-out of a send while SQS is
    away; with it one in a while does, to find out whether SQS is back.

    Parameters
    ----------
    seconds
        How long a queue is left alone after a failure.
    """

    def __init__(self, publisher: Publisher, *, seconds: float = 2.0) -> None:
        self._publisher = publisher
        self._seconds = seconds
        self._circuits: dict[str, CircuitBreaker] = {}

    def publish(self, job: QueuedJob) -> None:
        """Send one message; see `Publisher`."""
        circuit = self._circuits.setdefault(job.definition.lane, CircuitBreaker(self._seconds))
        if not circuit.enter():
            raise QueueUnreachable
        reached = True
        try:
            self._publisher.publish(job)
        except QueueUnreachable:
            reached = False
            raise
        finally:
            circuit.leave(reached=reached)


class Deferral:
    """Records the message in the outbox instead of sending it.

    Parameters
    ----------
    app
        The Celery app that would send it.
    outbox
        Asked for at each call, since a fork makes clients of its own.
    """

    def __init__(self, app: Any, settings: Settings, outbox: Callable[[], Outbox]) -> None:
        self._app = app
        self._settings = settings
        self._outbox = outbox

    def defer(self, job: QueuedJob, *, due: float) -> None:
        """Return once the outbox has the message; the steward sends it at `due`.

        Raises
        ------
        sealwax.outbox.store.OutboxError
        """
        definition = job.definition
        queue = self._settings.queue_name(definition.lane)
        fields = self._app.amqp.as_task_v2(
            job.job_id,
            definition.name,
            (job.envelope,),
            {},
            argsrepr=MASK,
            kwargsrepr=MASK,
            ignore_result=True,
        )
        content_type, encoding, body = dumps(fields.body, serializer="json")
        properties = dict(fields.properties)
        if self._settings.lanes[definition.lane].fair:
            properties["sealwax-group"] = job.group
        with self._app.producer_or_acquire() as producer:
            channel = producer.channel
            message = channel.prepare_message(
                body,
                content_type=content_type,
                content_encoding=encoding,
                headers=fields.headers,
                properties=properties,
            )
            entry = channel.compose(queue, message)
        self._outbox().put(
            Item(
                id=f"{job.job_id}#0",
                due=due,
                queue=queue,
                body=entry["MessageBody"],
                attributes=entry.get("MessageAttributes") or {},
                group=entry.get("MessageGroupId"),
                job=job.job_id,
                task=definition.name,
                lane=definition.lane,
            )
        )
