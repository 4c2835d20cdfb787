"""The Celery task class for any app on our transport: `Celery(task_cls=…)`.

Late acknowledgement, retries of the same message, and no deletion of what
failed. It knows neither envelope nor ledger; `sealed.SealedTask` adds them.
"""

from __future__ import annotations

import random
from typing import Any, Literal

from celery import Task as CeleryTask
from celery.exceptions import MaxRetriesExceededError, Retry

from sealwax.transport.dead_letters import DeadLetterReason
from sealwax.worker.disposition import DeadLetter, Disposition, Postpone

__all__ = ["Task"]

#: Deaths of the process that runs a message before it is dead-lettered.
CRASHES = 3


class Task(CeleryTask):
    """A task whose message is kept until its outcome is known."""

    abstract = True
    Request = "sealwax.worker.request:Request"
    acks_late = True
    acks_on_failure_or_timeout = False
    reject_on_worker_lost = True
    crashes = CRASHES

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: BaseException | None = None,
        throw: bool = True,  # noqa: FBT001, FBT002 - Celery's signature
        eta: Any = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """Try the same message again later; publishes nothing.

        With other arguments or options Celery's own way is taken: a copy is
        sent, then this message is deleted.
        """
        request = self.request
        facts = (request.delivery_info or {}).get("sqs") if request.delivery_info else None
        changed = args is not None or kwargs is not None or options
        if facts is None or request.called_directly or request.is_eager or changed:
            return super().retry(args, kwargs, exc, throw, eta, countdown, max_retries, **options)
        limit = self.max_retries if max_retries is None else max_retries
        if limit is not None and facts["receive_count"] > limit:
            if exc is not None:
                raise exc
            raise MaxRetriesExceededError(
                f"{self.name} has used its retries", task_args=(), task_kwargs={}
            )
        when = eta if eta is not None else countdown
        again = Retry(exc=exc, when=self.default_retry_delay if when is None else when)
        if throw:
            raise again
        return again

    def on_attempt_lost(self, request: Any, kind: Literal["timeout", "crashed"]) -> Disposition:
        """Decide what becomes of a message whose process died or was killed for its time.

        Called in the worker's main process, in a thread beside the loop.
        """
        receives = int((request.delivery_info or {}).get("sqs", {}).get("receive_count") or 1)
        if receives >= self.crashes:
            return DeadLetter(
                DeadLetterReason(
                    reason="crashed",
                    error="TimeLimitExceeded" if kind == "timeout" else "WorkerLost",
                    attempts=receives,
                    job=request.id,
                    details={"task": self.name, "cause": kind},
                )
            )
        bound = min(900.0, 2.0**receives)
        return Postpone(bound * (0.5 + random.random() / 2))  # noqa: S311 - jitter
