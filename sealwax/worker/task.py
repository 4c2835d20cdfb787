"""The Celery task class of sealed jobs: glue between Celery and `Attempt`.

One instance a task definition, made by `sealwax.worker.app`. It never lets a
return value or an exception of business code reach Celery: Celery logs them,
stores them and pickles them to the parent process.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import Any, ClassVar, Literal

import structlog
from billiard.einfo import ExceptionWithTraceback
from celery.exceptions import Reject, SoftTimeLimitExceeded
from celery.exceptions import Retry as CeleryRetry

from sealwax.aws.backoff import jittered
from sealwax.envelope import EnvelopeError, peek
from sealwax.ledger import ClaimLost, LedgerError, is_job_id, read_generation
from sealwax.outbox.payloads import is_reference
from sealwax.outcomes import DeadLetter, Outcome, Retry
from sealwax.producer.publish import CeleryPublisher
from sealwax.runtime import Runtime
from sealwax.task_definition import TaskDefinition
from sealwax.transport.celery.request import HOOK_WAIT, Request
from sealwax.transport.celery.task import Task
from sealwax.transport.codec import loads
from sealwax.worker.attempt import Attempt, ReceivedJob
from sealwax.worker.isolation import JobIsolation
from sealwax.worker.provenance import Stray, judge, only_argument
from sealwax.worker.routes import RouteBreakers, RouteRetry
from sealwax.worker.settlement import EarlyDeaths, GivenUp, LostAttempt, Settlement

__all__ = ["SealedTask"]

log = structlog.get_logger("sealwax.worker")

#: Seconds between the soft limit, which lets the task clean up, and the kill.
KILL_AFTER = 10


#: Tries of the main process to tell the ledger how an attempt ended, with waits of up to
#: 10 s: as long as `limits.record_seconds` by default.
TRIES = 60


#: Whose messages share one share that do not say in clear whose they are: their
#: envelopes are in the bucket, and their lane has no fair groups.
_IN_BUCKET = "-"


class GivenUpRetry(CeleryRetry):
    """A retry of an attempt that the ledger may still hold as running."""


class PostponedRetry(CeleryRetry):
    """A postponement of a job whose route is closed."""


class SealedRequest(Request):
    """A request whose ends are told to the ledger for as long as it takes."""

    hook_attempts = TRIES

    def on_retry(self, exc_info: Any) -> None:
        """Postpone the message; say what an attempt could not that has ended."""
        super().on_retry(exc_info)
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):  # as the pool hands it over
            error = error.exc
        if isinstance(error, GivenUpRetry):
            self._settler.engine.counters.add("given_up")
            self._in_background(self._give_back, 0)
        elif isinstance(error, PostponedRetry):
            self._settler.engine.counters.add("route_closed")

    def _give_back(self, tries: int) -> None:
        try:
            self.task.give_back(self)
        except LedgerError:
            if tries + 1 < TRIES:
                wait = jittered(tries, base=1.0, cap=HOOK_WAIT)
                self._in_background(self._give_back, tries + 1, delay=wait)

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
    routes: ClassVar[RouteBreakers | None] = None
    #: The main process counts here; made with the app.
    early_deaths: ClassVar[EarlyDeaths]

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Run one attempt; Celery calls this in the pool's process."""
        request = self.request
        job_id, generation = str(request.id), read_generation(getattr(request, "generation", None))
        embed = {"links": request.callbacks or request.errbacks or request.chain or request.chord}
        envelope = only_argument((args, kwargs, embed))
        refused = _refused(job_id, generation, envelope)
        if refused is not None or generation is None or envelope is None:
            # Decided before anything is asked: DynamoDB refuses some such keys,
            # and a refusal would look like an outage that is waited out for ever.
            raise Reject(refused, requeue=False)
        sqs = (request.delivery_info or {}).get("sqs") or {}
        runtime = self.runtime.current()
        runtime.refresh_if_old()
        delivery = ReceivedJob(
            job_id=job_id,
            task=self.name,
            envelope=envelope,
            # Another transport names no receive: then each run is one of its own.
            token=str(sqs.get("token") or secrets.token_hex(16)),
            first_received_at=float(sqs.get("first_received_at") or runtime.clock()),
            generation=generation,
            queue=sqs.get("queue"),
        )
        # Renewed by the worker's main process with the message's visibility, so
        # that a killed worker's jobs are claimed again soon.
        lane = runtime.settings.lanes[self.definition.lane]
        attempt = Attempt(
            runtime,
            self.definition,
            delivery,
            lease=lane.lease,
            publisher=CeleryPublisher(self.app, runtime.settings, stores=runtime.stores),
            isolation=self.isolation,
            routes=self.routes,
        )
        outcome = attempt.run()
        # Celery has exceptions for these; our Request reads them.
        if isinstance(outcome, GivenUp):
            raise GivenUpRetry(when=outcome.after)
        if isinstance(outcome, RouteRetry):
            raise PostponedRetry(when=outcome.after)
        if isinstance(outcome, Retry):
            raise CeleryRetry(when=outcome.after)
        if isinstance(outcome, DeadLetter):
            raise Reject(outcome, requeue=False)

    def refuse(self, message: Any) -> DeadLetter | None:
        """Return the letter of a message that is plainly no job's own; None where it may run.

        Before the pool sees it, so that Celery calls nothing with a stranger's arguments.
        """
        headers = message.headers
        # Its form was checked when it was received.
        argument = only_argument(loads(message.body, max_depth=message.channel.options.max_depth))
        return _refused(str(headers["id"]), read_generation(headers.get("generation")), argument)

    def tenant(self, message: Any) -> str | None:
        """Return the tenant that the message's envelope names.

        Nobody has verified it. Who names another's tenant takes of that one's share
        for as long as it takes to see that the envelope is not signed for it.
        """
        argument = only_argument(loads(message.body, max_depth=message.channel.options.max_depth))
        if argument is None or is_reference(argument):
            return None if self._fair else _IN_BUCKET
        try:
            return peek(argument).context.tenant
        except EnvelopeError:
            return _IN_BUCKET

    @property
    def _fair(self) -> bool:
        return self.runtime.settings.lanes[self.definition.lane].fair

    def on_attempt_lost(self, request: Any, kind: Literal["timeout", "crashed"]) -> Outcome:
        """Settle an attempt whose process is gone; the parent calls this in a thread.

        The ledger hears of it first.

        Raises
        ------
        LedgerError, PayloadStoreUnreachable
            It cannot be reached: to be called again, while the leases are renewed.
        """
        runtime = self.runtime.current()
        delivery = request.delivery
        found = judge(runtime, delivery.body)
        if isinstance(found, Stray):
            return found.letter()
        job_id = found.context.job
        sqs = (request.delivery_info or {}).get("sqs", {})
        lost = LostAttempt(
            token=str(sqs.get("token") or "unknown"),
            message=str(sqs.get("message_id") or job_id),
            kind=kind,
            own=found,
            queue=sqs.get("queue"),
        )
        try:
            return Settlement(runtime, self.definition, job_id).lost(lost, self.early_deaths)
        except LedgerError:
            runtime.ledger_failed()
            raise

    def give_back(self, request: Any) -> None:
        """Tell the ledger that an attempt has ended which it may hold as running.

        Raises
        ------
        LedgerError
            It cannot be reached.
        """
        sqs = (request.delivery_info or {}).get("sqs", {})
        with contextlib.suppress(ClaimLost):  # it does not hold it, or not any more
            self.runtime.current().ledger.release(str(request.id), token=str(sqs.get("token")))


def _refused(job_id: str, generation: int | None, argument: str | None) -> DeadLetter | None:
    """Return the letter of what is plainly no job's own, before anything is verified."""
    job = job_id if is_job_id(job_id) else None
    if job is None:
        return Stray(cause="job-id", error="job-id").letter()
    if generation is None:
        return Stray(cause="generation", error="generation", job=job).letter()
    if argument is None:
        return Stray(cause="not-sealed", error="NotSealed", job=job).letter()
    return None
