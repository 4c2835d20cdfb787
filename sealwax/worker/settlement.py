"""Settlement of failed attempts: decide, record in the ledger, and only then return the outcome.

Used by the attempt in the pool's process, for what the task raised, and by the
task class in the worker's main process, for attempts whose process is gone.
Knows nothing of Celery. The ledger hears of a death before the dead letter is
sent: a job whose letter is out is never alive in the ledger.
"""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import structlog

from sealwax.errors import SealwaxError
from sealwax.ledger import ClaimLost, JobState, LedgerEntry
from sealwax.outbox.payloads import is_reference
from sealwax.outcomes import Ack, DeadLetter, Failure, Outcome, Reason, Retry, decide
from sealwax.runtime import Runtime
from sealwax.task_definition import TaskDefinition
from sealwax.worker.provenance import Own, Stray, disagreement
from sealwax.worker.recording import OutcomeRecorder

__all__ = [
    "CRASHED",
    "SHORT",
    "UNKNOWN_JOB",
    "EarlyDeaths",
    "GivenUp",
    "LostAttempt",
    "Settlement",
    "bury_unclaimed",
]

#: Seconds until a message comes back that waits for something of ours: the
#: ledger, a key, the end of another attempt's lease.
SHORT = 5.0

#: The same, where the next receive finds the answer in the ledger.
_AT_ONCE = 1.0


@dataclass(frozen=True)
class GivenUp(Retry):
    """The attempt has ended, and the ledger may still hold it as running.

    Its worker lives and says so to the ledger, so that nobody suspects the job.
    """


class EarlyDeaths:
    """Counts of children that died with a message before its job was claimed; thread-safe.

    The ledger counts deaths by claim, so a message that ends its child before
    the claim would do so for ever. Kept in the main process's memory: no attempt
    of the job has begun, so the ledger charges none.

    Parameters
    ----------
    most
        Messages remembered; the ones seen longest ago are forgotten first.
    """

    def __init__(self, most: int = 1_000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._counts: OrderedDict[str, int] = OrderedDict()

    def add(self, message: str) -> int:
        """Count one death; return how many there have been."""
        with self._lock:
            count = self._counts.pop(message, 0) + 1
            self._counts[message] = count
            while len(self._counts) > self._most:
                self._counts.popitem(last=False)
            return count

    def forget(self, message: str) -> None:
        """Forget a message that has ended."""
        with self._lock:
            self._counts.pop(message, None)


@dataclass(frozen=True, kw_only=True)
class LostAttempt:
    """An attempt whose process is gone.

    Parameters
    ----------
    token
        Delivery token of the receive.
    message
        Id of the message.
    kind
        `timeout`: killed at its hard time limit; `crashed`: died.
    own
        The message as it was judged.
    queue
        The queue that it came from; None where that is not known.
    """

    token: str
    message: str
    kind: Literal["timeout", "crashed"]
    own: Own
    queue: str | None = None


#: The job's processes died too often; nobody could record the last death.
CRASHED = DeadLetter(reason=Reason.CRASHED, cause="process-died", error="WorkerLost")

#: A message that names a job which the ledger has never accepted.
UNKNOWN_JOB = DeadLetter(reason=Reason.UNKNOWN_JOB, cause="no-ledger-entry", error="UnknownJob")


def bury_unclaimed(
    runtime: Runtime, own: Own, letter: DeadLetter, *, queue: str | None
) -> DeadLetter:
    """Record the death of a job whose own message ends before any claim; return its letter.

    Where the ledger does not agree that this is the job's message and that the
    job may die now, the letter is a stray's, or an unknown job's, and nothing
    changes. `queue`: where the message came from; None where that is not known.

    Raises
    ------
    LedgerError
    """
    job = own.context.job
    entry = runtime.ledger.get(job)
    if entry is None:
        return replace(UNKNOWN_JOB, job=job, attempts=0)
    stray = disagreement(entry, own, queue=queue, runtime=runtime)
    if stray is not None:
        return stray.letter()
    if own.generation != entry.generation:
        return Stray(cause="generation", error="generation", job=job).letter()
    died = not entry.final and runtime.ledger.die(
        job,
        token=None,
        reason=letter.reason.value,
        cause=letter.cause or letter.reason.value,
        error=letter.error or "",
        generation=own.generation,
    )
    if died or entry.state is JobState.DEAD:
        return replace(letter, job=job, attempts=entry.attempts)
    # It runs elsewhere, or has ended well: this copy of its message was not needed.
    return Stray(cause="job-not-dead", error="JobNotDead", job=job).letter()


class Settlement:
    """Settlement of the failed attempts of one message.

    Methods raise `LedgerError` where the ledger cannot be reached.

    Parameters
    ----------
    envelope
        The message's envelope, or the reference to it; empty where it is not
        known: a big payload then stays where it is.
    log
        Bound to the job.
    chance
        Random numbers in [0, 1) for the jitter.
    recorder
        Repeats records of attempts that ended in this process; None: each is
        tried once, and the caller asks again.
    """

    def __init__(
        self,
        runtime: Runtime,
        definition: TaskDefinition[Any],
        job_id: str,
        *,
        envelope: str = "",
        log: Any = None,
        chance: Callable[[], float] = random.random,
        recorder: OutcomeRecorder | None = None,
    ) -> None:
        self._recorder = recorder
        self._runtime = runtime
        self._policy = definition.policy(runtime.settings)
        self._job_id = job_id
        self._envelope = envelope
        self._log = log or structlog.get_logger("sealwax.worker").bind(
            job=job_id, task=definition.name
        )
        self._chance = chance

    def failed(
        self, entry: LedgerEntry, failure: Failure, *, token: str, place: str | None = None
    ) -> Outcome:
        """Settle an attempt that failed and still holds its claim.

        Parameters
        ----------
        entry
            The job as claimed.
        token
            The claim's.
        place
            Module and function where the task's code raised.
        """
        outcome = self._decide(entry, failure)
        if isinstance(outcome, DeadLetter):
            return self.dead(entry, replace(outcome, place=place), token=token)
        due = self._runtime.clock() + outcome.after
        try:
            again = self._record(
                lambda: self._runtime.ledger.retry(
                    self._job_id,
                    token=token,
                    due=due,
                    cause=failure.cause,
                    error=failure.error,
                    suspicions=entry.suspicions,
                )
            )
        except ClaimLost:
            self._log.warning("late failure refused")
            return Retry(SHORT)
        if not again:
            self._log.info("job cancelled")
            return self.drop(entry)
        self._log.info("job retries", seconds=round(outcome.after, 1), cause=failure.cause)
        return outcome

    def dead(self, entry: LedgerEntry, letter: DeadLetter, *, token: str | None) -> Outcome:
        """Record the death of a job whose envelope had opened; return its letter.

        Parameters
        ----------
        token
            The claim's; None where its process is gone.

        Returns
        -------
        Outcome
            `Retry` where the ledger refuses: the job has ended otherwise, or
            another attempt holds it.
        """
        letter = self.letter(letter, entry)
        if not self._record(lambda: self._die(letter, token=token)):
            self._log.warning("late death refused")
            return Retry(SHORT)
        self._log.warning("job dead", reason=letter.reason.value, cause=letter.cause)
        for reference in self._claim_checks(entry):
            try:
                self._runtime.payloads.move_to_dead(self._job_id, reference)
            except SealwaxError as error:
                # Where it is it has no expiry either, and a replay finds it.
                self._log.info("payload not moved", error=type(error).__name__)
        return letter

    def letter(self, letter: DeadLetter, entry: LedgerEntry | None) -> DeadLetter:
        """Return a letter that names the job and its attempts so far; records nothing."""
        return replace(letter, job=self._job_id, attempts=entry.attempts if entry else 0)

    def drop(self, entry: LedgerEntry) -> Ack:
        """End a message whose job has ended well: its payload is not needed any more."""
        if self._claim_checks(entry):
            try:
                self._runtime.payloads.erase(self._job_id)
            except SealwaxError as error:
                # It costs a few cents; the outcome is recorded.
                self._log.warning("payload not deleted", error=type(error).__name__)
        return Ack()

    # -- attempts whose process is gone

    def lost(self, attempt: LostAttempt, early_deaths: EarlyDeaths) -> Outcome:
        """Settle an attempt whose process is gone; called in the worker's main process.

        Call it only for a message that was judged to be the job's own.

        Parameters
        ----------
        early_deaths
            The main process's counts.
        """
        ledger = self._runtime.ledger
        if attempt.kind == "timeout":
            entry = ledger.get(self._job_id)
            if entry is None:
                return self._unclaimed(attempt, early_deaths)
            self._log.warning("attempt lost", kind=attempt.kind, crashes=entry.crashes)
            failure = Failure(kind="transient", cause="time-limit", error="TimeLimitExceeded")
            return self.failed(entry, failure, token=attempt.token)
        outcome: Retry | DeadLetter = CRASHED
        known = ledger.get(self._job_id)
        if known is not None and known.crashes + 1 < self._runtime.settings.limits.crashes:
            failure = Failure(kind="crashed", cause="process-died", error="WorkerLost")
            outcome = self._decide(known, failure)
        # With the crash goes when the job may start again: a copy of its message,
        # which anybody may have sent, would start it at once.
        due = self._runtime.clock() + outcome.after if isinstance(outcome, Retry) else None
        try:
            entry = ledger.crash(self._job_id, token=attempt.token, due=due)
        except ClaimLost:
            return self._unclaimed(attempt, early_deaths)
        self._log.warning("attempt lost", kind=attempt.kind, crashes=entry.crashes)
        if isinstance(outcome, DeadLetter):
            return self.dead(entry, outcome, token=None)
        return outcome  # the ledger has recorded with the crash that the job is tried again

    def _unclaimed(self, attempt: LostAttempt, early_deaths: EarlyDeaths) -> Outcome:
        """Settle a message whose child died before its claim, or after its outcome was recorded."""
        entry = self._runtime.ledger.get(self._job_id)
        if entry is None:
            # Without this a message that kills its child before the claim
            # would do so until SQS itself gives up.
            return self.letter(UNKNOWN_JOB, None)
        stray = disagreement(entry, attempt.own, queue=attempt.queue, runtime=self._runtime)
        if stray is not None:
            return stray.letter()
        if (
            attempt.kind != "crashed"
            or entry.final
            or entry.state is JobState.RUNNING
            or entry.token == attempt.token
        ):
            # The message comes back, and its next claim is answered by the ledger.
            return Retry(_AT_ONCE)
        deaths = early_deaths.add(attempt.message)
        self._log.warning("child died before the claim", deaths=deaths)
        if deaths < self._runtime.settings.limits.crashes:
            return Retry(_AT_ONCE)
        early_deaths.forget(attempt.message)
        letter = self.letter(replace(CRASHED, cause="died-before-claim"), None)
        done = self._die(letter, token=None, generation=attempt.own.generation)
        return letter if done else Retry(SHORT)

    # -- parts

    def _record(self, write: Callable[[], bool]) -> bool:
        return write() if self._recorder is None else self._recorder.record(write)

    def _claim_checks(self, entry: LedgerEntry) -> tuple[str, ...]:
        """Return what S3 keeps for a job: by the ledger's word, not by a message's."""
        if entry.claim_checks is not None:
            return entry.claim_checks
        # Accepted by a version that recorded none; the message was verified.
        return (self._envelope,) if is_reference(self._envelope) else ()

    def _decide(self, entry: LedgerEntry, failure: Failure) -> Retry | DeadLetter:
        return decide(
            failure,
            attempt=entry.attempts,
            age=self._runtime.clock() - entry.since,
            policy=self._policy,
            max_age=entry.not_after - entry.since,
            chance=self._chance(),
        )

    def _die(self, letter: DeadLetter, *, token: str | None, generation: int | None = None) -> bool:
        return self._runtime.ledger.die(
            self._job_id,
            token=token,
            reason=letter.reason.value,
            cause=letter.cause or "",
            error=letter.error or "",
            generation=generation,
        )
