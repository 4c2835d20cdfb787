"""Celery request of one attempt, in the worker's main process.

Celery's own request acknowledges failures, copies retries, and lets some
exceptions end the worker. This one settles the message exactly once, never
blocks the event loop, and never raises into it. Called by the pool: on the
event loop under prefork, on pool threads under the threads pool.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from celery import signals
from celery.exceptions import (
    Ignore,
    Reject,
    TaskRevokedError,
    Terminated,
    TimeLimitExceeded,
    WorkerLostError,
)
from celery.exceptions import Retry as CeleryRetry
from celery.worker import state
from celery.worker.request import Request as CeleryRequest

from sealwax.aws.backoff import backoff
from sealwax.aws.clock import AWS_CLOCK
from sealwax.outcomes import Ack, DeadLetter, Outcome, Reason, Retry
from sealwax.transport.carried import receives_charged
from sealwax.transport.celery.adoption import hook
from sealwax.transport.celery.retries import CopiedRetry, is_exhausted

__all__ = ["Request", "listens"]

logger = logging.getLogger(__name__)

#: Calls of a task's hook after a lost attempt, and the seconds to wait when none returned.
HOOK_ATTEMPTS = 5
HOOK_GIVES_UP = 30.0
#: Longest wait between two of them.
HOOK_WAIT = 10.0


class Request(CeleryRequest):
    """A request whose message stands on the Sealwax transport.

    Attributes
    ----------
    hook_attempts
        Calls of the task's hook after a lost attempt, until one returns.
    tenant
        Whose it is, where its task knows; by what nobody has verified.
    """

    hook_attempts = HOOK_ATTEMPTS
    #: Called with the request once it has ended, whatever way; set by whoever waits for it.
    ended: Callable[[Any], None] | None = None

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        metadata = (message.delivery_info or {}).get("sqs")
        if metadata:
            self._delivery_info["sqs"] = metadata
            headers = self._request_dict
            headers["retries"] = (headers.get("retries") or 0) + receives_charged(
                metadata,
                headers.get("eta"),
                delayed=(message.properties or {}).get("sealwax-delayed"),
            )
        self._settler = message.channel.settler
        self._token = message.delivery_tag
        self.delivery = message.delivery
        self.tenant: str | None = hook(self.task, "tenant")(message)
        self._lock = threading.Lock()
        self._settled = False
        self._asked = False
        self._started = False

    # -- starting

    @property
    def released(self) -> bool:
        """Whether the message is no longer this worker's."""
        return self._settler.in_flight.get(self._token) is None

    def execute_using_pool(self, pool: Any, **kwargs: Any) -> Any:
        """Hand the task to the pool, unless its message was released meanwhile."""
        at_once = getattr(pool, "uses_semaphore", False) or not getattr(pool, "executor", None)
        if at_once:
            if not self._settler.start(self._token):
                self._forget()
                raise TaskRevokedError(self.id)
            self._started = True
        try:
            return super().execute_using_pool(pool, **kwargs)
        except TaskRevokedError:
            raise
        except Exception as error:
            # Celery would lose a slot of its semaphore, or the whole worker.
            logger.exception("Task %s could not be handed to the pool", self.id)
            self._end(
                DeadLetter(reason=Reason.MALFORMED, error=type(error).__name__),
                recorded=False,
            )
            raise TaskRevokedError(self.id) from error

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Note that the pool has begun; on a threads pool this is the last moment to decline."""
        if not self._started and not self._settler.start(self._token) and not self._settled:
            self._forget()
            raise TaskRevokedError(self.id)
        super().on_accepted(pid, time_accepted)

    def give_back(self, seconds: float) -> None:
        """Make the message, which was not started, visible again after `seconds`."""
        self._forget()
        self._settler.engine.counters.add("held_back")
        self._end(Retry(seconds))

    def _forget(self) -> None:
        self.acknowledged = True
        self._ready()

    def _ready(self, *, successful: bool = False) -> None:
        """Note that the pool is done with the request."""
        state.task_ready(self, successful=successful)
        if self.ended is not None:
            self.ended(self)

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Send an event of the task, where a listener enabled tasks' events."""
        if listens(self._eventer):
            super().send_event(type, **fields)

    # -- ends

    def on_success(self, failed__retval__runtime: Any, **kwargs: Any) -> None:
        """End an attempt by the child's answer: a value, or an exception it classified."""
        failed, retval, runtime = failed__retval__runtime
        if failed:
            self.on_failure(retval, return_ok=True)
            return
        self._ready(successful=True)
        self._end(Ack())
        self.send_event("task-succeeded", result=retval, runtime=runtime)

    def on_retry(self, exc_info: Any) -> None:
        """Postpone the same message; a retry that changed something is a copy already."""
        error = _bare(exc_info.exception)
        if isinstance(error, CopiedRetry):
            self._end(Ack())
        else:
            self._end(Retry(_seconds(error.when)))
        self.send_event("task-retried", exception=type(error).__name__, traceback="")

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Note that a time limit passed; the hard one has killed the child."""
        if soft:
            logger.warning("Soft time limit (%ss) exceeded for %s[%s]", timeout, self.name, self.id)
            return
        self._ready()
        logger.error("Hard time limit (%ss) exceeded for %s[%s]", timeout, self.name, self.id)
        self._lost("timeout", TimeLimitExceeded(timeout))

    def on_failure(
        self,
        exc_info: Any,
        send_failed_event: bool = True,
        return_ok: bool = False,
    ) -> None:
        """End an attempt that raised."""
        self._ready()
        error = _bare(exc_info.exception)
        if isinstance(error, Terminated):
            if not self._already_cancelled and not self._already_revoked:
                self._announce_revoked("terminated", True, str(error), False)  # noqa: FBT003
        elif isinstance(error, SystemExit | KeyboardInterrupt | WorkerLostError | MemoryError):
            if not (self._already_cancelled or self._already_revoked):
                self._lost("crashed", error)
        elif isinstance(error, TimeLimitExceeded):
            self._lost("timeout", error)
        elif isinstance(error, CeleryRetry):
            self.on_retry(exc_info)
        elif isinstance(error, Ignore):
            self._end(Ack())
        elif isinstance(error, Reject):
            self._rejected(error)
        else:
            self._failed(error, already_stored=return_ok)
        if send_failed_event and not isinstance(error, CeleryRetry | Ignore):
            self.send_event("task-failed", exception=type(error).__name__, traceback="")

    def _rejected(self, error: Reject) -> None:
        if error.requeue:
            self._end(Retry(1), requeued=True)
        elif isinstance(error.reason, DeadLetter):
            self._end(error.reason)
        else:
            self._failed(error, already_stored=False)

    def _failed(self, error: BaseException, *, already_stored: bool) -> None:
        if not already_stored:
            self._store_failure(error)
        if not self.task.acks_late:
            return
        exhausted = is_exhausted(error)
        letter = DeadLetter(
            reason=Reason.EXHAUSTED if exhausted else Reason.REJECTED,
            cause="exhausted" if exhausted else "task-raised",
            error=type(error).__name__,
            attempts=self._request_dict.get("retries", 0) + 1,
            job=self.id,
        )
        self._end(letter, recorded=False)

    # -- attempts that the child did not classify

    def _lost(self, kind: Literal["timeout", "crashed"], error: BaseException) -> None:
        """Ask the task, in the background, for the message's outcome."""
        if not self.task.acks_late:
            self._store_failure(error)
            return
        if self._settled or self._asked:
            return  # Celery reports a time-out twice: as the job's end and as a time-out
        self._asked = True
        logger.error(
            "Attempt of %s[%s] lost: %s (%s)", self.name, self.id, kind, type(error).__name__
        )
        self._in_background(self._ask, kind, error, 0)

    def _ask(self, kind: Literal["timeout", "crashed"], error: BaseException, attempt: int) -> None:
        if self._settled:
            return
        outcome: Outcome
        try:
            outcome = hook(self.task, "on_attempt_lost")(self, kind)
        except Exception:
            logger.exception("The task could not settle the lost attempt of %s", self.id)
            if attempt + 1 < self.hook_attempts:
                wait = backoff(attempt, base=1.0, cap=HOOK_WAIT)
                self._in_background(self._ask, kind, error, attempt + 1, delay=wait)
                return
            outcome = Retry(HOOK_GIVES_UP)
        self._end(outcome, recorded=True, crashed=True)
        if isinstance(outcome, DeadLetter):
            self._store_failure(error)

    def expire(self) -> None:
        """Ask the task, in the background, for the outcome of a message whose expiry has passed."""
        self._already_revoked = True
        self._in_background(self._ask_expired)

    def _ask_expired(self) -> None:
        outcome: Outcome
        try:
            outcome = hook(self.task, "on_expired")(self)
        except Exception:
            logger.exception("The task could not record the expiry of %s", self.id)
            outcome = Retry(HOOK_GIVES_UP)
        self._end(outcome)
        if isinstance(outcome, Retry):
            return
        facts = {"terminated": False, "signum": None, "expired": True}
        self.send_event("task-revoked", **facts)
        signals.task_revoked.send(sender=self.task, request=self._context, **facts)

    @property
    def expired(self) -> bool:
        """Whether the message's expiry has passed."""
        if not self.expires:
            return False
        now = datetime.fromtimestamp(AWS_CLOCK(), UTC if self.expires.tzinfo else None)
        return bool(now > self.expires)

    # -- settling

    def _end(
        self,
        outcome: Outcome,
        *,
        recorded: bool = True,
        crashed: bool = False,
        requeued: bool = False,
    ) -> None:
        """Carry out the outcome, once."""
        with self._lock:
            if self._settled:
                return
            self._settled = True
        self.acknowledged = True
        self._settler.settle(
            self._token, outcome, recorded=recorded, crashed=crashed, requeued=requeued
        )

    def acknowledge(self) -> None:
        """Delete the message (Celery's name)."""
        self._end(Ack())

    def reject(self, requeue: bool = False) -> None:
        """Dead-letter or requeue the message (Celery's name)."""
        if requeue:
            self._end(Retry(1), requeued=True)
        else:
            self._end(DeadLetter(reason=Reason.REJECTED, job=self.id), recorded=False)

    def _store_failure(self, error: BaseException) -> None:
        """Record the failure in the result backend, which may block, off the event loop."""
        self._in_background(self._mark_as_failure, error)

    def _mark_as_failure(self, error: BaseException) -> None:
        """Do what the child could not: record a failure, and tell it."""
        self.task.backend.mark_as_failure(
            self.id, error, request=self._context, store_result=self.store_errors
        )
        try:
            raise error  # noqa: TRY301 - for its traceback alone
        except BaseException:  # noqa: BLE001
            einfo = ExceptionInfo()
        facts = {"args": self.args, "kwargs": self.kwargs, "einfo": einfo}
        if isinstance(error, TimeLimitExceeded):
            try:
                self.task.on_failure(error, self.id, self.args, self.kwargs, einfo)
            except Exception:
                logger.exception("on_failure of %s[%s] failed", self.name, self.id)
        signals.task_failure.send(
            sender=self.task, task_id=self.id, exception=error, traceback=einfo.tb, **facts
        )

    def _in_background(self, work: Callable[..., None], *args: Any, delay: float = 0.0) -> None:
        self._settler.engine.background.run(work, *args, delay=delay)


def listens(eventer: Any) -> bool:
    """Whether tasks' events are wanted: a worker's heartbeat alone keeps the dispatcher enabled."""
    return bool(eventer and eventer.enabled and (not eventer.groups or "task" in eventer.groups))


def _bare(error: Any) -> Any:
    return error.exc if isinstance(error, ExceptionWithTraceback) else error


def _seconds(when: Any) -> float:
    if isinstance(when, datetime):
        moment = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - AWS_CLOCK())
    if isinstance(when, int | float):
        return max(0.0, float(when))
    return 0.0
