"""The Celery task class of sealed jobs: glue between Celery and `Attempt`.

One instance a task definition, made by `sealwax.worker.app`. It never lets a
return value or an exception of business code reach Celery: Celery logs them,
stores them and pickles them to the parent process.
"""

from __future__ import annotations

import secrets
from typing import Any, ClassVar, Literal, NamedTuple

import structlog
from celery.exceptions import Reject, Retry, SoftTimeLimitExceeded

from sealwax.ledger import ClaimLost, JobState, LedgerError, is_job_id
from sealwax.outcomes import DeadLetter, Failure, Outcome, Postpone, Reason
from sealwax.producer.publish import CeleryPublisher, Deferral
from sealwax.runtime import Runtime
from sealwax.task_definition import TaskDefinition
from sealwax.transport.celery.request import Request
from sealwax.transport.celery.task import Task
from sealwax.worker.attempt import Attempt, ReceivedJob
from sealwax.worker.early_deaths import EarlyDeaths
from sealwax.worker.isolation import JobIsolation
from sealwax.worker.settlement import SHORT, Settlement

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


class _Lost(NamedTuple):
    """An attempt whose process is gone: of which job, by which receive of which message."""

    job: str
    token: str
    message: str
    kind: Literal["timeout", "crashed"]


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
    room: ClassVar[JobIsolation | None] = None
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
            raise Reject(_malformed("generation", job=str(request.id)), requeue=False)
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
            room=self.room,
        )
        self._apply(attempt.run())

    def _apply(self, outcome: Outcome) -> None:
        """Tell Celery what becomes of the message, in the words our Request understands."""
        if isinstance(outcome, Postpone):
            raise Retry(when=outcome.seconds) from None
        if isinstance(outcome, DeadLetter):
            raise Reject(outcome, requeue=False) from None

    def on_attempt_lost(self, request: Any, kind: Literal["timeout", "crashed"]) -> Outcome:
        """Settle an attempt whose process is gone; the parent calls this in a thread.

        The ledger hears of it first. Where it cannot, the message comes back
        and waits for the end of the claim's lease.
        """
        runtime = self.runtime.current()
        job_id = str(request.id)
        sqs = (request.delivery_info or {}).get("sqs", {})
        if not is_job_id(job_id):
            return _malformed("job-id")
        lost = _Lost(
            job_id, str(sqs.get("token") or "unknown"), str(sqs.get("message_id") or job_id), kind
        )
        try:
            return self._settle_lost(runtime, lost)
        except LedgerError as error:
            log.warning("lost attempt not recorded", job=job_id, error=type(error).__name__)
            return Postpone(SHORT)

    def _settlement(self, runtime: Runtime, job_id: str) -> Settlement:
        bound = log.bind(job=job_id, task=self.name)
        return Settlement(runtime, self.definition, job_id, log=bound)

    def _settle_lost(self, runtime: Runtime, lost: _Lost) -> Outcome:
        ledger, limits = runtime.ledger, runtime.settings.limits
        job_id, crashed = lost.job, lost.kind == "crashed"
        try:
            entry = ledger.crash(job_id, token=lost.token) if crashed else ledger.get(job_id)
        except ClaimLost:
            entry = None
        if entry is None:
            return self._unclaimed(runtime, lost)
        settlement = self._settlement(runtime, job_id)
        settlement.log.warning("attempt lost", kind=lost.kind, crashes=entry.crashes)
        if crashed:
            died = Failure(kind="crashed", cause="process-died", error="WorkerLost")
            if entry.crashes >= limits.crashes:
                return settlement.dead(entry, Reason.CRASHED, died, token=None)
            return settlement.failed(entry, died, token=lost.token, recorded=True)
        limit = Failure(kind="transient", cause="time-limit", error="TimeLimitExceeded")
        return settlement.failed(entry, limit, token=lost.token)

    def _unclaimed(self, runtime: Runtime, lost: _Lost) -> Outcome:
        """Settle a message whose child died before its claim, or after its outcome was recorded."""
        entry = runtime.ledger.get(lost.job)
        settlement = self._settlement(runtime, lost.job)
        if entry is None:
            # Without this a message that kills its child before the claim
            # would do so until SQS itself gives up.
            return settlement.letter(Reason.UNKNOWN_JOB, "no-ledger-entry", "UnknownJob")
        if (
            lost.kind != "crashed"
            or entry.final
            or entry.state is JobState.RUNNING
            or entry.token == lost.token
        ):
            # The message comes back and the ledger says what becomes of it.
            return Postpone(1.0)
        deaths = self.early_deaths.add(lost.message)
        settlement.log.warning("child died before the claim", deaths=deaths)
        if deaths < runtime.settings.limits.crashes:
            return Postpone(1.0)
        self.early_deaths.forget(lost.message)
        # Nobody has verified the message: the job's genuine one, if this is
        # another, brings the job back to life.
        if not runtime.ledger.die(
            lost.job,
            token=None,
            reason=Reason.CRASHED,
            cause="died-before-claim",
            error="WorkerLost",
        ):
            return Postpone(SHORT)
        return settlement.letter(Reason.CRASHED, "died-before-claim", "WorkerLost")


def _malformed(kind: str, *, job: str | None = None, attempts: int | None = None) -> DeadLetter:
    return DeadLetter(reason=Reason.MALFORMED, cause=kind, error=kind, job=job, attempts=attempts)
