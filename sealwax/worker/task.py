"""The Celery task class of sealed jobs: glue between Celery and `Attempt`.

One instance a task definition, made by `sealwax.worker.app`. It never lets a
return value or an exception of business code reach Celery: Celery logs them,
stores them and pickles them to the parent process.
"""

from __future__ import annotations

import secrets
from typing import Any, ClassVar, Literal

import structlog
from celery.exceptions import Reject, SoftTimeLimitExceeded
from celery.exceptions import Retry as CeleryRetry

from sealwax.ledger import LedgerError, is_job_id
from sealwax.outcomes import DeadLetter, Outcome, Reason, Retry
from sealwax.producer.publish import CeleryPublisher, Deferral
from sealwax.runtime import Runtime
from sealwax.task_definition import TaskDefinition
from sealwax.transport.celery.request import Request
from sealwax.transport.celery.task import Task
from sealwax.worker.attempt import Attempt, ReceivedJob
from sealwax.worker.isolation import JobIsolation
from sealwax.worker.settlement import SHORT, EarlyDeaths, LostAttempt, Settlement

__all__ = ["SealedTask"]

log = structlog.get_logger("sealwax.worker")

#: Seconds between the soft limit, which lets the task clean up, and the kill.
KILL_AFTER = 10


#: Headers that Celery obeys and nobody has signed: somebody who can write to
#: the queue could let a job expire or have its attempts killed with them.
_UNSIGNED = ("timelimit", "expires", "eta", "shadow")


class SealedRequest(Request):
    """A request that obeys no header which the envelope does not vouch for."""

    def __init__(self, message: Any, **options: Any) -> None:
        headers = dict(options.pop("headers", None) or message.headers)
        for name in _UNSIGNED:
            headers.pop(name, None)
        super().__init__(message, headers=headers, **options)

    def _failed(self, error: BaseException, *, already_stored: bool) -> None:
        """Ask the ledger after a soft time limit that met the attempt outside of our hands."""
        if isinstance(error, SoftTimeLimitExceeded):
            self._lost("timeout", error)
        else:
            super()._failed(error, already_stored=already_stored)


class SealedTask(Task):
    """Opens, runs and settles one sealed job."""

    abstract = True
    Request = "sealwax.worker.task:SealedRequest"
    ignore_result = True
    store_errors_even_if_ignored = False
    acks_late = True
    # The envelope is checked by us; Celery's signature check would raise in producers.
    typing = False

    definition: ClassVar[TaskDefinition[Any]]
    runtime: ClassVar[Runtime]
    #: Of the worker whose process, or whose parent, this is.
    isolation: ClassVar[JobIsolation | None] = None
    #: The main process counts here; made with the app.
    early_deaths: ClassVar[EarlyDeaths]

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Run one attempt; Celery calls this in the pool's process."""
        request = self.request
        if not is_job_id(str(request.id)):
            # Decided before anything is asked: DynamoDB refuses some such keys,
            # and a refusal would look like an outage that is waited out for ever.
            raise Reject(_malformed("job-id", attempts=0), requeue=False)
        generation = getattr(request, "generation", None) or 0
        if type(generation) is not int or generation < 0:
            raise Reject(_malformed("generation", job=request.id), requeue=False)
        sqs = (request.delivery_info or {}).get("sqs") or {}
        runtime = self.runtime.current()
        runtime.refresh_if_old()
        # What is not exactly one text, or would have Celery send something on,
        # is no envelope of ours: an empty one fails to open and is dead-lettered
        # with that reason.
        more = request.callbacks or request.errbacks or request.chain or request.chord
        ours = len(args) == 1 and isinstance(args[0], str) and not kwargs and not more
        envelope = args[0] if ours else ""
        delivery = ReceivedJob(
            job_id=str(request.id),
            task=self.name,
            envelope=envelope,
            # Another transport names no receive: then each run is one of its own.
            token=str(sqs.get("token") or secrets.token_hex(16)),
            first_received_at=float(sqs.get("first_received_at") or runtime.clock()),
            generation=generation,
        )
        # Renewed by the worker's main process with the message's visibility, so
        # that a killed worker's jobs are claimed again soon.
        lane = runtime.settings.lanes[self.definition.lane]
        attempt = Attempt(
            runtime,
            self.definition,
            delivery,
            lease=lane.lease,
            publisher=CeleryPublisher(self.app, runtime.settings),
            deferral=Deferral(self.app, runtime.settings, lambda: runtime.outbox),
            isolation=self.isolation,
        )
        outcome = attempt.run()
        # Celery has exceptions for these; our Request reads them.
        if isinstance(outcome, Retry):
            raise CeleryRetry(when=outcome.after)
        if isinstance(outcome, DeadLetter):
            raise Reject(outcome, requeue=False)

    def on_attempt_lost(self, request: Any, kind: Literal["timeout", "crashed"]) -> Outcome:
        """Settle an attempt whose process is gone; the parent calls this in a thread.

        The ledger hears of it first. Where it cannot, the message comes back
        and waits for the end of the claim's lease.
        """
        job_id = str(request.id)
        if not is_job_id(job_id):
            return _malformed("job-id")
        sqs = (request.delivery_info or {}).get("sqs", {})
        lost = LostAttempt(
            token=str(sqs.get("token") or "unknown"),
            message=str(sqs.get("message_id") or job_id),
            kind=kind,
        )
        settlement = Settlement(self.runtime.current(), self.definition, job_id)
        try:
            return settlement.lost(lost, self.early_deaths)
        except LedgerError as error:
            log.warning("lost attempt not recorded", job=job_id, error=type(error).__name__)
            return Retry(SHORT)


def _malformed(kind: str, *, job: str | None = None, attempts: int | None = None) -> DeadLetter:
    return DeadLetter(reason=Reason.MALFORMED, cause=kind, error=kind, job=job, attempts=attempts)
