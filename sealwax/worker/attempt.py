"""One attempt of one sealed job, from the received envelope to its outcome.

Called by the Celery task in the process that runs the business code, and by
`sealwax.testing`; it knows nothing of Celery. Order matters and is the product:

1. verify and open the envelope: a message that nobody has signed for this job
   changes nothing (see `sealwax.worker.provenance`);
2. claim in the ledger: nothing runs that has succeeded or runs elsewhere;
3. validate again, run, record the outcome;
4. only then return the message's outcome.

No exception leaves `Attempt.run`; no text of one is kept.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from pydantic import BaseModel, ValidationError

from sealwax.aws.errors import refuses_content
from sealwax.envelope import (
    Context,
    EnvelopeError,
    Expected,
    Opened,
    Purpose,
    open_envelope,
    seal,
)
from sealwax.job import Cancelled, Job, LeaseLost, RouteClosed
from sealwax.json_limits import check_json
from sealwax.ledger import ClaimLost, JobState, LedgerEntry, LedgerError
from sealwax.outbox.payloads import (
    PayloadMissing,
    PayloadStoreError,
    PayloadStoreUnreachable,
    is_reference,
)
from sealwax.outcomes import Ack, DeadLetter, Outcome, Reason, Rejected, Retry, classify
from sealwax.producer.publish import Publisher
from sealwax.producer.submit import encode_payload
from sealwax.runtime import Runtime
from sealwax.task_definition import TaskDefinition
from sealwax.telemetry.logs import code_place, describe_exception, within_task
from sealwax.worker.claiming import JobClaimer
from sealwax.worker.isolation import JobIsolation
from sealwax.worker.job_context import FollowUpSender, LeaseChecker, ProgressReporter
from sealwax.worker.provenance import Own, Stray, verified_context
from sealwax.worker.recording import OutcomeRecorder
from sealwax.worker.routes import RouteBreakers, RouteRetry
from sealwax.worker.settlement import CRASHED, SHORT, GivenUp, Settlement, bury_unclaimed

__all__ = ["Attempt", "ReceivedJob"]

log = structlog.get_logger("sealwax.worker")

#: Seconds after the soft time limit for which an outcome is still recorded: its process
#: is killed `sealwax.worker.task.KILL_AFTER` after it.
_AFTER_LIMIT = 5.0

#: The job was done, and the ledger refuses for good to be told so: a person looks at it.
_UNRECORDED = DeadLetter(reason=Reason.REJECTED, cause="success-refused", error="LedgerDenied")


@dataclass(frozen=True, kw_only=True)
class ReceivedJob:
    """One receive of one message.

    Parameters
    ----------
    token
        Random name of this receive.
    first_received_at
        Epoch seconds of the message's first receive.
    generation
        Which replay of the job the message belongs to. Nobody has signed it: it
        tells the job's messages apart, and never decides the job's outcome.
    queue
        The queue that it came from; None where that is not known.
    """

    job_id: str
    task: str
    envelope: str
    token: str
    first_received_at: float
    generation: int = 0
    queue: str | None = None


class Attempt:
    """One attempt of a job; make a new one for each delivery.

    Parameters
    ----------
    lease
        Seconds the claim lasts without renewal.
    publisher
        Sends the follow-ups that the task enqueues.
    isolation
        The worker's; None where nothing else can run.
    routes
        The worker's breakers; None: every system is asked.
    chance
        Random numbers in [0, 1) for the jitter.
    """

    def __init__(
        self,
        runtime: Runtime,
        definition: TaskDefinition[Any],
        delivery: ReceivedJob,
        *,
        lease: float,
        publisher: Publisher | None = None,
        isolation: JobIsolation | None = None,
        routes: RouteBreakers | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._runtime = runtime
        self._definition = definition
        self._policy = definition.policy(runtime.settings)
        self._delivery = delivery
        self._lease = lease
        self._publisher = publisher
        self._isolation = isolation
        self._routes = routes
        self._claimed: LedgerEntry | None = None
        #: Records what the attempt has come to, once that is known.
        self._ending: Callable[[], Outcome] | None = None
        self._chance = chance
        self._log = log.bind(job=delivery.job_id, task=delivery.task)
        limit = definition.time_limit or runtime.settings.limits.task_seconds
        self._began = time.monotonic()
        self._recorder = OutcomeRecorder(
            until=self._began + limit + _AFTER_LIMIT,
            seconds=max(lease, runtime.settings.limits.record_seconds),
            failed=runtime.ledger_failed,
            log=self._log,
        )

    def run(self) -> Outcome:
        """Run the attempt; return the message's outcome."""
        try:
            opened = self._open()
            if not isinstance(opened, Opened):
                return opened
            with self._claimer(opened).claimed() as entry:
                if not isinstance(entry, LedgerEntry):
                    return entry
                self._claimed = entry
                self._log = self._log.bind(tenant=entry.tenant, attempt=entry.attempts)
                too_late = self._too_late(entry)
                if too_late is not None:
                    return self._settlement().dead(entry, too_late, token=self._delivery.token)
                try:
                    payload, job = self._prepare(entry, opened)
                    with (
                        structlog.contextvars.bound_contextvars(
                            job=entry.id,
                            task=entry.task,
                            tenant=entry.tenant,
                            attempt=entry.attempts,
                        ),
                        within_task(),
                    ):
                        result = self._definition.function(payload, job)
                except BaseException as error:  # noqa: BLE001 - a task that calls sys.exit() has failed
                    self._ending = partial(self._raised, entry, error)
                else:
                    self._ending = partial(self._succeeded, entry, result)
                return self._ending()
        except (LedgerError, PayloadStoreUnreachable) as error:
            # Nothing was decided, or not recorded: the message comes back, and the
            # next claim is answered by the ledger.
            return self._unavailable(error)
        except Exception as error:  # noqa: BLE001 - no exception leaves an attempt
            return self._interrupted(error)

    def _unavailable(self, error: LedgerError | PayloadStoreUnreachable) -> Retry:
        if isinstance(error, LedgerError):
            self._runtime.ledger_failed()
        if self._ending is not None:
            self._log.error("outcome not recorded", error=type(error).__name__)
        else:
            self._log.warning("store unavailable", error=type(error).__name__)
        # A claim may have been recorded although no answer came.
        return GivenUp(SHORT)

    def _interrupted(self, error: Exception) -> Outcome:
        """End an attempt that a time limit, or a fault of ours, met outside the task.

        What the task returned or raised stays its outcome: recording is repeated,
        which does nothing where it had been done.
        """
        self._log.warning("attempt interrupted", error=describe_exception(error))
        try:
            if self._ending is not None:
                return self._ending()
            if self._claimed is not None:
                failure = classify(error, self._policy)
                return self._settlement().failed(self._claimed, failure, token=self._delivery.token)
        except (LedgerError, PayloadStoreUnreachable) as trouble:
            return self._unavailable(trouble)
        return Retry(SHORT)

    # -- opening -------------------------------------------------------------------

    def _open(self) -> Opened | Outcome:
        delivery = self._delivery
        expect = Expected(purpose=Purpose.JOB, task=delivery.task, job=delivery.job_id, tenant=None)
        runtime = self._runtime
        # The ledger decides whether the job is too old (max-age, below), so that
        # a job that waited too long is exhausted, not unopenable.
        for again in (True, False):
            try:
                return open_envelope(
                    self._envelope(), keyring=runtime.keyring, expect=expect, now=0.0
                )
            except PayloadStoreError as error:
                return self._unopenable(error)
            except EnvelopeError as error:
                if error.transient:
                    if again and runtime.refresh_for_unknown_key():
                        continue
                    waited = runtime.clock() - delivery.first_received_at
                    if waited < runtime.settings.limits.unknown_key_seconds:
                        self._log.warning("key unknown yet", cause=error.cause)
                        return Retry(min(SHORT, runtime.settings.limits.unknown_key_seconds))
                return self._unopenable(error)
        raise AssertionError("unreachable")

    def _envelope(self) -> str:
        """Return the envelope, from the bucket where the message only refers to it."""
        text = self._delivery.envelope
        if is_reference(text):
            return self._runtime.payloads.fetch(self._delivery.job_id, text)
        return text

    def _unopenable(self, error: EnvelopeError | PayloadStoreError) -> Outcome:
        """Set the message aside; its job dies only where the message is its own."""
        delivery, runtime = self._delivery, self._runtime
        if isinstance(error, PayloadMissing):
            entry = runtime.ledger.get(delivery.job_id)
            if entry is not None and entry.final and entry.state is not JobState.DEAD:
                # A copy of a message whose job has succeeded: its payload is gone by right.
                return Ack()
        try:
            context = verified_context(
                runtime, job=delivery.job_id, task=delivery.task, argument=delivery.envelope
            )
        except (EnvelopeError, PayloadStoreError) as finding:
            self._log.warning("stray", cause=finding.cause)
            stray = Stray(cause=finding.cause, error=type(finding).__name__, job=delivery.job_id)
            return stray.letter()
        self._log.warning("unopenable", cause=error.cause)
        letter = DeadLetter(reason=Reason.UNOPENABLE, cause=error.cause, error=type(error).__name__)
        return bury_unclaimed(runtime, self._own(context), letter, queue=delivery.queue)

    def _own(self, context: Context) -> Own:
        delivery = self._delivery
        return Own(context=context, generation=delivery.generation, argument=delivery.envelope)

    # -- running ---------------------------------------------------------------------

    def _claimer(self, opened: Opened) -> JobClaimer:
        return JobClaimer(
            self._runtime,
            job_id=self._delivery.job_id,
            token=self._delivery.token,
            generation=self._delivery.generation,
            lease=self._lease,
            isolation=self._isolation,
            settlement=self._settlement(),
            log=self._log,
            own=self._own(opened.context),
            queue=self._delivery.queue,
        )

    def _too_late(self, entry: LedgerEntry) -> DeadLetter | None:
        """Return the letter of a claimed job that must not be tried any more."""
        if entry.crashes >= self._runtime.settings.limits.crashes:
            # Its last death was counted, and no process was left to end the job.
            return CRASHED
        if self._runtime.clock() >= entry.not_after:
            return DeadLetter(reason=Reason.EXHAUSTED, cause="max-age", error="JobTooOld")
        return None

    def _prepare(self, entry: LedgerEntry, opened: Opened) -> tuple[Any, Job]:
        """Return the task's two arguments: the payload, validated again, and the job."""
        definition, token = self._definition, self._delivery.token
        try:
            # Not every signer counts as our API does: an older one, or one taken over.
            check_json(opened.plaintext, self._runtime.settings.limits)
            payload = definition.sealed_contract.model_validate_json(opened.plaintext)
        except (ValidationError, ValueError, RecursionError):
            raise Rejected("contract-broken") from None
        job = Job(
            id=entry.id,
            task=entry.task,
            tenant=entry.tenant,
            attempt=entry.attempts,
            accepted_at=entry.created,
            settings=self._runtime.settings,
            secrets=self._runtime.task_secrets(definition),
            aws=self._runtime.aws,
            checker=LeaseChecker(self._runtime, entry, token, lease=self._lease),
            reporter=ProgressReporter(self._runtime, definition, entry.id, token),
            sender=FollowUpSender(self._runtime, self._publisher, entry),
            breaker=self._routes,
        )
        return payload, job

    def _raised(self, entry: LedgerEntry, error: BaseException) -> Outcome:
        """Settle an attempt by what the task raised, or what kept it from running."""
        if isinstance(error, LeaseLost):
            self._log.warning("lease lost")
            return GivenUp(SHORT)
        if isinstance(error, Cancelled):
            return self._stopped(entry)
        if isinstance(error, RouteClosed):
            return self._postponed(entry, error)
        failure = classify(error, self._policy)
        package = self._definition.function.__module__.split(".", 1)[0]
        place = code_place(error, package)
        self._log.info("attempt failed", cause=failure.cause, error=describe_exception(error))
        return self._settlement().failed(entry, failure, token=self._delivery.token, place=place)

    def _postponed(self, entry: LedgerEntry, error: RouteClosed) -> Outcome:
        """Give an attempt back whose route is closed: it asked nobody, and is not counted."""
        try:
            self._runtime.ledger.release(entry.id, token=self._delivery.token)
        except ClaimLost:
            self._log.warning("lease lost")
            return Retry(SHORT)
        self._log.info("route closed", host=error.host, seconds=round(error.after, 1))
        return RouteRetry(error.after)

    def _succeeded(self, entry: LedgerEntry, result: Any) -> Outcome:
        sealed, omitted = self._seal_result(entry, result)
        try:
            self._record_success(entry, sealed, omitted)
        except ClaimLost:
            self._log.warning("late success refused")
            return Retry(SHORT)
        except LedgerError as error:
            if sealed is None or not refuses_content(error):
                return self._not_recorded(entry, error)
            # Larger, with all else that the item holds, than an item may be.
            self._log.warning("result refused by the ledger")
            omitted = "refused"
            try:
                self._record_success(entry, None, omitted)
            except LedgerError as again:
                return self._not_recorded(entry, again)
        seconds = round(time.monotonic() - self._began, 3)
        self._log.info("job succeeded", result_omitted=omitted, seconds=seconds)
        return self._settlement().drop(entry)

    def _record_success(self, entry: LedgerEntry, sealed: str | None, omitted: str | None) -> None:
        ledger, token = self._runtime.ledger, self._delivery.token
        self._recorder.record(
            lambda: ledger.succeed(entry.id, token=token, result=sealed, omitted=omitted)
        )

    def _not_recorded(self, entry: LedgerEntry, error: LedgerError) -> Outcome:
        """End a job whose success cannot be recorded: it must not run for ever, done each time."""
        if isinstance(error, ClaimLost) or not refuses_content(error):
            raise error
        return self._settlement().dead(entry, _UNRECORDED, token=self._delivery.token)

    def _stopped(self, entry: LedgerEntry) -> Outcome:
        try:
            self._recorder.record(
                lambda: self._runtime.ledger.stop(entry.id, token=self._delivery.token)
            )
        except ClaimLost:
            self._log.warning("late stop refused")
            return Retry(SHORT)
        self._log.info("job cancelled")
        return self._settlement().drop(entry)

    def _seal_result(self, entry: LedgerEntry, result: Any) -> tuple[str | None, str | None]:
        """Seal the result to the API's key; a result that does not fit costs no job."""
        if result is None:
            return None, None
        try:
            value = result.model_dump(mode="json") if isinstance(result, BaseModel) else result
            plaintext = encode_payload(value)
        except (TypeError, ValueError, RecursionError):
            self._log.warning("result is not JSON", type=type(result).__name__)
            return None, "not-json"
        if len(plaintext) > self._runtime.settings.limits.result_bytes:
            return None, "too-large"
        keyring = self._runtime.keyring
        context = Context(
            purpose=Purpose.RESULT,
            task=entry.task,
            job=entry.id,
            tenant=entry.tenant,
            contract=entry.contract,
            issued_at=int(self._runtime.clock()),
            not_after=entry.expires or entry.not_after,
        )
        return seal(
            plaintext, context, recipient=keyring.recipient("api"), signer=keyring.signer
        ), None

    def _settlement(self) -> Settlement:
        return Settlement(
            self._runtime,
            self._definition,
            self._delivery.job_id,
            envelope=self._delivery.envelope,
            log=self._log,
            chance=self._chance,
            recorder=self._recorder,
        )
