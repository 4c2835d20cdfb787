"""Celery's request with our endings: postpone, dead-letter, and never a silent delete.

Runs in the worker's main process. Nothing here waits for the network: what a
lost attempt's ledger says is asked in a thread beside.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from billiard.einfo import ExceptionWithTraceback
from celery.exceptions import Ignore, Reject, Retry
from celery.worker import request as celery_request
from celery.worker.state import task_ready

from sealwax.transport.dead_letters import DeadLetterReason, parse_reason
from sealwax.worker.disposition import Ack, DeadLetter, Disposition, Postpone

__all__ = ["Request"]


class Request(celery_request.Request):
    """A request of a task of ours."""

    acknowledged: bool

    def __init__(self, message: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(message, *args, **kwargs)
        # Celery hands a fixed choice of delivery_info to the child; ours must
        # come along: its token is what the child claims the job with.
        facts = (message.delivery_info or {}).get("sqs")
        if facts is not None:
            self._request_dict["delivery_info"]["sqs"] = facts

    def execute_using_pool(self, pool: Any, **kwargs: Any) -> Any:
        """Hand the task to the pool; from now on SIGTERM does not give it back."""
        self._mark_started()
        return super().execute_using_pool(pool, **kwargs)

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task here (solo pool)."""
        self._mark_started()
        return super().execute(*args, **kwargs)

    def _mark_started(self) -> None:
        channel = self.message.channel
        if channel is not None and hasattr(channel, "started"):
            channel.started(self.message.delivery_tag)

    # -- endings -------------------------------------------------------------------

    def settle(self, disposition: Disposition) -> None:
        """Do with the message what was decided; once."""
        if self.acknowledged:
            return
        channel = self.message.channel
        if not hasattr(channel, "postpone"):  # another transport, or a closed channel
            if isinstance(disposition, Ack):
                self.acknowledge()
            else:
                self.reject(requeue=isinstance(disposition, Postpone))
            return
        self.acknowledged = True
        tag = self.message.delivery_tag
        if isinstance(disposition, Ack):
            channel.basic_ack(tag)
        elif isinstance(disposition, Postpone):
            channel.postpone(tag, disposition.seconds)
        else:
            channel.dead_letter(tag, disposition.reason)

    def on_retry(self, exc_info: Any) -> None:
        """Make the same message visible later; nothing is published."""
        error = _unwrap(exc_info.exception)
        if getattr(error, "sig", None) is not None:
            # A retry with other arguments was sent as a copy: this one is done.
            super().on_retry(exc_info)
            return
        self.settle(Postpone(_seconds(getattr(error, "when", None))))
        self.send_event("task-retried", exception="Retry", traceback="")

    def on_failure(
        self,
        exc_info: Any,
        send_failed_event: bool = True,
        return_ok: bool = False,  # noqa: FBT001, FBT002 - Celery's
    ) -> None:
        """End an attempt that raised, or whose process is gone."""
        error = _unwrap(exc_info.exception)
        if isinstance(error, Retry):
            task_ready(self)
            self.on_retry(exc_info)
        elif isinstance(error, Ignore):
            task_ready(self)
            self.settle(Ack())
        elif isinstance(error, Reject):
            task_ready(self)
            if error.requeue:
                self.settle(Postpone(0))
            else:
                reason = parse_reason(error.reason) or DeadLetterReason(
                    reason="rejected", error="Reject", job=self.id
                )
                self.settle(DeadLetter(reason))
        elif self._lost(error):
            task_ready(self)
            self._attempt_lost("crashed")
        else:
            task_ready(self)
            self.settle(DeadLetter(self._failure(error)))
            if send_failed_event:
                self.send_event("task-failed", exception=type(error).__name__, traceback="")

    def on_timeout(self, soft: bool, timeout: float) -> None:  # noqa: FBT001 - Celery's
        """Settle an attempt that was killed for its time; a soft limit is the task's own."""
        if soft:
            super().on_timeout(soft, timeout)
            return
        task_ready(self)
        self._attempt_lost("timeout")

    def _lost(self, error: BaseException) -> bool:
        """Whether the child process is gone, or as good as gone."""
        # By name: billiard and Celery have a class each, and Terminated comes
        # with a cold shutdown, when the message must come back.
        names = {kind.__name__ for kind in type(error).__mro__}
        return bool(
            names & {"WorkerLostError", "Terminated", "SystemExit", "KeyboardInterrupt",
                     "MemoryError", "TimeLimitExceeded"}
        )  # fmt: skip

    def _failure(self, error: BaseException) -> DeadLetterReason:
        retries = isinstance(error, Exception) and type(error).__name__ == "MaxRetriesExceededError"
        return DeadLetterReason(
            reason="exhausted" if retries else "rejected",
            error=type(error).__name__,
            attempts=_receives(self),
            job=self.id,
            details={"task": self.name, "cause": "exhausted" if retries else "task-raised"},
        )

    def _attempt_lost(self, kind: Literal["timeout", "crashed"]) -> None:
        def decide() -> None:
            self.settle(self.task.on_attempt_lost(self, kind))

        channel = self.message.channel
        engine = getattr(channel, "engine", None)
        if engine is None:
            decide()
        else:
            engine.aside(decide)


def _unwrap(error: Any) -> BaseException:
    while isinstance(error, ExceptionWithTraceback):
        error = error.exc
    found: BaseException = error
    return found


def _receives(request: Any) -> int:
    return int((request.delivery_info or {}).get("sqs", {}).get("receive_count") or 1)


def _seconds(when: Any) -> float:
    if isinstance(when, int | float):
        return max(0.0, float(when))
    if isinstance(when, datetime):
        now = datetime.now(UTC) if when.tzinfo else datetime.now()  # noqa: DTZ005 - as given
        return max(0.0, (when - now).total_seconds())
    return 0.0
