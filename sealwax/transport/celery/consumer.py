"""Celery's consumer on the transport: messages become requests; the rest is dead-lettered.

`strategy` is named by the task class, which every task gets; it also replaces,
on the running consumer, the callbacks that would delete what they do not
understand. `Consumer` does the same from the start, for apps that set
`worker_consumer`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery import signals
from celery.utils.imports import symbol_by_name
from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.state import task_reserved

from sealwax.outcomes import DeadLetter, Reason, Retry
from sealwax.transport.celery.adoption import adopt_tasks, hook
from sealwax.transport.celery.fair_queue import install_fair_queue
from sealwax.transport.celery.request import listens
from sealwax.transport.codec import Malformed
from sealwax.transport.message import Message
from sealwax.transport.validation import check_body

__all__ = ["Consumer", "adopt", "strategy"]

logger = logging.getLogger(__name__)


def strategy(task: Any, app: Any, consumer: Any, **_: Any) -> Callable[..., Any]:
    """Return the handler of one task's messages, as Celery's strategies do.

    The handler takes (message, body, ack, reject, callbacks) and returns None.
    """
    adopt(consumer)
    _adopt_latecomers(app, consumer)
    request_class = symbol_by_name(task.Request)
    hostname, eventer = consumer.hostname, consumer.event_dispatcher
    get_bucket = consumer.task_buckets.__getitem__
    rate_limits = not consumer.disable_rate_limits
    revoked = consumer.controller.state.revoked
    celery_strategy = symbol_by_name("celery.worker.strategy:default")
    stock: list[Callable[..., Any]] = []
    if not task.acks_late:
        logger.warning(
            "Task %s acknowledges early: what its worker is running is lost when it dies",
            task.name,
        )

    def handle(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> Any:
        if not isinstance(message, Message):
            # Another broker: Celery's own way.
            if not stock:
                stock.append(celery_strategy(task, app, consumer))
            return stock[0](message, body, ack, reject, callbacks)
        if not _may_start(message, task):
            return None
        pauses = message.channel.options.pauses
        delay = pauses.task_delay(task.name) if pauses else None
        if delay is not None:
            message.channel.settler.settle(message.delivery_tag, Retry(delay))
            return None
        request = request_class(
            message,
            on_ack=ack,
            on_reject=reject,
            app=app,
            hostname=hostname,
            eventer=eventer,
            task=task,
            connection_errors=consumer.connection_errors,
            body=message.body,
            headers=message.headers,
            decoded=False,
            utc=app.uses_utc_timezone(),
        )
        logger.debug("Task %s[%s] received", request.name, request.id)
        if request.expired:
            request.expire()
            return None
        if request.id in revoked and request.revoked():
            return None
        signals.task_received.send(sender=consumer, request=request)
        if listens(eventer):
            request.send_event(
                "task-received",
                name=request.name,
                args=request.argsrepr,
                kwargs=request.kwargsrepr,
                root_id=request.root_id,
                parent_id=request.parent_id,
                retries=request.request_dict.get("retries", 0),
            )
        bucket = get_bucket(task.name) if rate_limits else None
        if bucket:
            return consumer._limit_task(request, bucket, 1)  # noqa: SLF001 - as Celery's strategy does
        task_reserved(request)
        for callback in callbacks or ():
            callback(request)
        consumer.on_task_request(request)
        return None

    return handle


def _may_start(message: Any, task: Any) -> bool:
    """Dead-letter what is malformed, and what the task refuses."""
    if not _well_formed(message):
        return False
    refused = hook(task, "refuse")(message)
    if refused is not None:
        message.channel.settler.settle(message.delivery_tag, refused)
    return refused is None


def _well_formed(message: Any) -> bool:
    """Dead-letter a message whose body is no task's; JSON was checked when it was received."""
    if message.content_type == "application/json":
        return True
    try:
        check_body(message.payload)
    except Malformed as finding:
        _malformed(message, finding.kind)
        return False
    return True


def _malformed(message: Any, kind: str) -> None:
    letter = DeadLetter(reason=Reason.MALFORMED, error=kind, job=message.delivery.job)
    message.channel.settler.settle(message.delivery_tag, letter, recorded=False)


def adopt(consumer: Any) -> None:
    """Replace what deletes, on a running consumer, once. Other brokers keep Celery's ways."""
    if getattr(consumer, "_sealwax_adopted", False):
        return
    consumer._sealwax_adopted = True  # noqa: SLF001 - a mark of ours
    _replace(consumer, "on_unknown_message", 1, _unknown_message)
    _replace(consumer, "on_unknown_task", 1, _unknown_task)
    _replace(consumer, "on_invalid_task", 1, _invalid)
    _replace(consumer, "on_decode_error", 0, _invalid)
    _outlive_children(consumer.pool)
    install_fair_queue(consumer)


def _adopt_latecomers(app: Any, consumer: Any) -> None:
    """Adopt the tasks that came after the worker's start, once."""
    if getattr(consumer, "_sealwax_tasks_adopted", False):
        return
    consumer._sealwax_tasks_adopted = True  # noqa: SLF001 - a mark of ours
    for task in adopt_tasks(app):
        if task.name in consumer.strategies:  # it has Celery's already
            consumer.strategies[task.name] = task.start_strategy(app, consumer)


def _outlive_children(pool: Any) -> None:
    """Let a worker go on whose child died in its first moment: it is replaced like any other.

    Celery ends the worker then. Where every child is dead none can start, and it
    still ends.
    """
    children: Any = getattr(pool, "_pool", None)
    if getattr(children, "_pool", None):  # threads have none

        def did_start_ok() -> bool:
            return any(child.exitcode is None for child in children._pool)  # noqa: SLF001 - billiard's list

        pool.did_start_ok = did_start_ok


def _replace(consumer: Any, name: str, position: int, ours: Callable[..., None]) -> None:
    celerys = getattr(consumer, name)

    def call(*args: Any) -> Any:
        message = args[position]
        if isinstance(message, Message):
            return ours(consumer, message, *args[2:] if position else args[1:])
        return celerys(*args)

    setattr(consumer, name, call)


def _unknown_message(consumer: Any, message: Any, *_: Any) -> None:
    _malformed(message, "unknown-message")
    signals.task_rejected.send(sender=consumer, message=message, exc=None)


def _unknown_task(consumer: Any, message: Any, exc: Any = None, *_: Any) -> None:
    trusted = message.channel.options.headers is None
    logger.warning(
        "Message %s is of an unknown task: %s",
        message.delivery.message_id,
        # Where headers are not obeyed, anybody may have written the name.
        message.delivery.task if trusted else "(name withheld)",
    )
    message.channel.settler.settle_unknown_task(message.delivery_tag)
    signals.task_unknown.send(
        sender=consumer,
        message=message,
        exc=exc,
        name=message.headers.get("task"),
        id=message.headers.get("id"),
    )


def _invalid(consumer: Any, message: Any, exc: Any = None, *_: Any) -> None:
    _malformed(message, type(exc).__name__)
    signals.task_rejected.send(sender=consumer, message=message, exc=exc)


class Consumer(CeleryConsumer):
    """Celery's consumer, adopted from the start (`worker_consumer`)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        adopt(self)
