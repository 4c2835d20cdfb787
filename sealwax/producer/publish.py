"""How a sealed job gets into its queue: one Celery message, nothing else in it.

Used by the API and by tasks that enqueue follow-ups. The envelope is the only
argument; what Celery would repeat of it in headers is masked. What is to be
sent later, or cannot be sent now, is the same message in the outbox.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from kombu.exceptions import OperationalError
from kombu.serialization import dumps

from sealwax.circuit_breaker import CircuitBreaker
from sealwax.outbox.store import Item
from sealwax.settings import Settings
from sealwax.stores import Stores
from sealwax.task_definition import TaskDefinition
from sealwax.transport.errors import QueueUnreachable, TransportError
from sealwax.transport.options import MAX_DELAY

__all__ = ["MASK", "CeleryPublisher", "Publisher", "QueuedJob"]

log = structlog.get_logger("sealwax.producer.publish")

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
    created
        When the job was accepted, epoch seconds.
    delay
        Seconds from then until its first attempt may start.
    """

    definition: TaskDefinition[Any]
    job_id: str
    envelope: str
    group: str
    created: float
    delay: float = 0.0


class Publisher(Protocol):
    """Sends a job to its task's queue."""

    def publish(self, job: QueuedJob) -> None:
        """Return once the queue, or in its place the outbox, has the message.

        Raises
        ------
        sealwax.transport.errors.QueueUnreachable
            The queue may or may not have it.
        sealwax.outbox.store.OutboxError
            The outbox has not; the queue may or may not.
        """


class CeleryPublisher:
    """Publishes through a Celery app on our transport.

    Parameters
    ----------
    app
        Its broker's transport is ours.
    stores
        Whose outbox keeps what is to be sent later and what SQS does not take
        now; None: both are refused.
    pause
        Seconds for which a queue is not asked that has just not answered:
        every caller would wait for the time-out of a send while SQS is away;
        so one in a while does, to find out whether it is back. 0: each asks.
    """

    def __init__(
        self, app: Any, settings: Settings, *, stores: Stores | None = None, pause: float = 0.0
    ) -> None:
        self._app = app
        self._settings = settings
        self._stores = stores
        self._breakers = {lane: CircuitBreaker(pause) for lane in settings.lanes} if pause else {}

    def publish(self, job: QueuedJob) -> None:
        """Send one message, or have it sent later; see `Publisher`."""
        definition = job.definition
        queue = self._settings.queue_name(definition.lane)
        breaker = self._breakers.get(definition.lane)
        if job.delay > MAX_DELAY or (job.delay > 0 and queue.endswith(".fifo")):
            # Longer than SQS delays a message; on a FIFO queue it delays none.
            self._defer(job, None)
            return
        if breaker is not None and not breaker.closed and not breaker.enter():
            self._defer(job, QueueUnreachable())
            return
        properties: dict[str, Any] = {"delay_seconds": job.delay} if job.delay > 0 else {}
        if self._settings.lanes[definition.lane].fair:
            properties["sealwax-group"] = job.group
        unreachable: QueueUnreachable | None = None
        try:
            self._app.send_task(
                definition.name,
                args=(job.envelope,),
                task_id=job.job_id,
                queue=queue,
                argsrepr=MASK,
                kwargsrepr=MASK,
                # The transport tries again itself, in a bounded time.
                retry=False,
                ignore_result=True,
                **properties,
            )
        except (QueueUnreachable, OperationalError) as error:
            # kombu wraps what the transport raised, on some of its ways.
            cause = error if isinstance(error, QueueUnreachable) else error.__cause__
            if not isinstance(cause, QueueUnreachable):
                if isinstance(cause, TransportError):
                    raise cause from None
                cause = QueueUnreachable()
                cause.__cause__ = error
            unreachable = cause
        finally:
            if breaker is not None and (unreachable is not None or not breaker.closed):
                breaker.leave(reached=unreachable is None)
        if unreachable is not None:
            # SQS may have it all the same: then it comes twice, which the ledger absorbs.
            self._defer(job, unreachable)

    def _defer(self, job: QueuedJob, unreachable: QueueUnreachable | None) -> None:
        """Record the message in the outbox; the steward sends it when it is due.

        Raises
        ------
        QueueUnreachable
            There is no outbox.
        sealwax.outbox.store.OutboxError
        """
        if self._stores is None:
            raise unreachable or QueueUnreachable
        if unreachable is not None:
            cause = type(unreachable.__cause__ or unreachable).__name__
            log.warning("queue unreachable, job to the outbox", job=job.job_id, cause=cause)
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
        self._stores.outbox.put(
            Item(
                id=f"{job.job_id}#0",
                due=job.created + job.delay,
                queue=queue,
                body=entry["MessageBody"],
                attributes=entry.get("MessageAttributes") or {},
                group=entry.get("MessageGroupId"),
                job=job.job_id,
                task=definition.name,
                lane=definition.lane,
            )
        )
