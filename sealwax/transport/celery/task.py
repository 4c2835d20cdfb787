"""The task class for any Celery app on the Sealwax transport.

`Celery(task_cls="sealwax.transport:Task")`: acknowledges late, retries by
postponing the same message, and decides the outcome of attempts whose child
died. Works on the app's own conventions; knows nothing of ledger or envelope.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import celery
from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from celery.exceptions import Reject

import sealwax.transport  # noqa: F401 - makes "sealwax://" known
from sealwax.outcomes import Ack, DeadLetter, Outcome, Reason, Retry
from sealwax.transport.celery.retries import copied, crash_delay, mark_exhausted, marked

__all__ = ["Task", "without_traceback"]

logger = logging.getLogger(__name__)


class Task(celery.Task):
    """A task whose message is never lost, copied or deleted before its outcome.

    Attributes
    ----------
    max_crashes
        Lost attempts (time-out, dead child, out of memory) after which a message is
        dead-lettered as `crashed`; retries are counted apart.
    """

    abstract = True
    Request = "sealwax.transport.celery.request:Request"
    Strategy = "sealwax.transport.celery.consumer:strategy"
    acks_late = True
    acks_on_failure_or_timeout = False
    reject_on_worker_lost = True
    max_crashes = 3
    _tracer: Any = None

    @property
    def __trace__(self) -> Any:
        """What runs the task in a worker; Celery builds and sets it."""
        return self._tracer

    @__trace__.setter
    def __trace__(self, tracer: Any) -> None:
        self._tracer = None if tracer is None else without_traceback(tracer)

    def on_attempt_lost(self, request: Any, kind: Literal["timeout", "crashed"]) -> Outcome:
        """Return the outcome of a message whose attempt was lost.

        Called in the worker's main process on a background thread; may block
        for a moment. `request` is the worker's request: `request.id`,
        `request.delivery_info["sqs"]`.
        """
        crashes = int((request.delivery_info.get("sqs") or {}).get("crashes", 0)) + 1
        if crashes >= self.max_crashes:
            return DeadLetter(
                reason=Reason.CRASHED,
                cause="time-limit" if kind == "timeout" else "process-died",
                error="TimeLimitExceeded" if kind == "timeout" else "WorkerLost",
                attempts=crashes,
                job=request.id,
            )
        return Retry(crash_delay(crashes))

    def refuse(self, message: Any) -> DeadLetter | None:
        """Return the letter of a message that must not reach the pool; None where it may.

        Called on the event loop of the worker's main process: it must not block.
        """
        return None

    def tenant(self, message: Any) -> str | None:
        """Return whose message it is, for shares of the slots; None: by its fair group.

        Called as `refuse` is, of what that let pass.
        """
        return None

    def on_expired(self, request: Any) -> Outcome:
        """Return the outcome of a message whose `expires` has passed. On a background thread."""
        logger.warning("Task %s[%s] expired before it ran", request.name, request.id)
        self.backend.mark_as_revoked(
            request.id,
            "expired",
            request=request._context,  # noqa: SLF001 - as Celery's own request does
            store_result=request.store_errors,
        )
        return Ack()

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """Run again later: the same message, postponed.

        A retry with changed arguments or options, or with `throw=False`, is
        published as a new message, as stock Celery does; the old one is deleted
        after that. In between the job exists twice.

        Raises
        ------
        celery.exceptions.Retry
            Tells the worker to postpone.
        celery.exceptions.MaxRetriesExceededError
            When `max_retries` is used up; `exc` in its place where one is given.
        """
        request = self.request
        changed = (
            (args is not None and list(args) != list(request.args or ()))
            or (kwargs is not None and kwargs != (request.kwargs or {}))
            or bool(options)
            or not throw
            or not self.acks_late  # the message is gone already
        )
        on_sqs = "sqs" in (getattr(request, "delivery_info", None) or {})
        if request.called_directly or request.is_eager or not on_sqs:
            return super().retry(args, kwargs, exc, throw, eta, countdown, max_retries, **options)
        if changed:
            # By its class: a task's own class may have a method of this name.
            return Task._copy(self, args, kwargs, exc, throw, eta, countdown, max_retries, options)
        limit = self.max_retries if max_retries is None else max_retries
        if max_retries is not None:
            self.override_max_retries = max_retries
        if limit is not None and request.retries + 1 > limit:
            if exc:
                raise mark_exhausted(exc)
            raise self.MaxRetriesExceededError(
                f"Can't retry {self.name}[{request.id}]: {limit} retries are used up",
                task_args=request.args,
                task_kwargs=request.kwargs,
            )
        if eta is None and countdown is None:
            countdown = self.default_retry_delay
        raise celery.exceptions.Retry(exc=exc, when=eta or countdown)

    def signature_from_request(
        self,
        request: Any = None,
        args: Any = None,
        kwargs: Any = None,
        queue: str | None = None,
        **options: Any,
    ) -> Any:
        """Return the signature of a copy of a message: in the message's group, and new to SQS.

        SQS swallows what bears a deduplication id that it knows, without an error.
        """
        copy = super().signature_from_request(request, args, kwargs, queue, **options)
        delivered = (self.request if request is None else request).delivery_info or {}
        return copied(copy, delivered.get("sqs"), asked=options)

    def _copy(
        self,
        args: Any,
        kwargs: Any,
        exc: BaseException | None,
        throw: bool,
        eta: datetime | None,
        countdown: float | None,
        max_retries: int | None,
        options: dict[str, Any],
    ) -> Any:
        ret = super().retry(
            args,
            kwargs,
            exc,
            False,  # noqa: FBT003 - Celery's signature
            eta,
            countdown,
            max_retries,
            **options,
        )
        # Its signature tells `without_traceback` that it is a copy.
        if throw:
            raise ret
        return ret

    def dead_letter(self, letter: DeadLetter) -> None:
        """End this attempt: the message becomes a dead letter.

        Raises
        ------
        celery.exceptions.Reject
            Always; to be raised out of the task.
        """
        raise Reject(letter, requeue=False)


def without_traceback(tracer: Callable[..., Any]) -> Callable[..., Any]:
    """Return Celery's tracer of a task; an exception it returns has no traceback any more.

    Celery pickles the whole traceback, frame by frame, and the worker's main
    process unpickles it in its event loop: several times what all else of a
    message costs there, so that a burst of failing tasks delayed everybody's.
    That process uses none of it; hooks, signals and result backends have had it
    before. What an attempt returned stays untouched. A retry that Celery's own `retry`
    has published is marked as the copy that it is.
    """

    def trace(*args: Any, **kwargs: Any) -> Any:
        outcome = tracer(*args, **kwargs)
        found = outcome[0]
        if isinstance(found, ExceptionInfo):
            found.tb, found.traceback = None, ""
            if isinstance(found.exception, ExceptionWithTraceback):
                found.exception.tb = ""
                found.exception.exc = marked(found.exception.exc)
            else:
                found.exception = marked(found.exception)
        return outcome

    return trace
