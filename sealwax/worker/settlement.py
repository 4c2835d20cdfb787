"""How an attempt that did not succeed ends: the ledger first, then the message.

One for the child, whose task raised, and for the worker's main process, whose
child is gone: both ask the same rule and record the same way. It knows no Celery.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from sealwax.errors import SealwaxError
from sealwax.ledger import ClaimLost, LedgerEntry
from sealwax.outbox.payloads import is_reference
from sealwax.outcomes import Ack, DeadLetter, Failure, Outcome, Postpone, Reason, decide
from sealwax.runtime import Runtime
from sealwax.task_definition import TaskDefinition

__all__ = ["SHORT", "Settlement"]

#: Seconds until a message comes back that waits for something of ours: the
#: ledger, a key, the end of another attempt's lease.
SHORT = 5.0


class Settlement:
    """Ends the attempts of one job.

    Parameters
    ----------
    envelope
        The message's argument, where the caller has it: a payload in the bucket
        moves with its job. Empty where it does not.
    log
        Bound to the job.
    chance
        Random numbers in [0, 1) for the jitter.
    """

    def __init__(
        self,
        runtime: Runtime,
        definition: TaskDefinition[Any],
        job_id: str,
        *,
        log: Any,
        envelope: str = "",
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._runtime = runtime
        self._definition = definition
        self._job_id = job_id
        self._envelope = envelope
        self._chance = chance
        self.log = log

    def failed(
        self,
        entry: LedgerEntry,
        failure: Failure,
        *,
        token: str,
        recorded: bool = False,
        place: str | None = None,
    ) -> Outcome:
        """End a failed attempt: try again later, or never.

        Parameters
        ----------
        token
            The claim's.
        recorded
            Whether the ledger knows of the failure already, as of a child's death.
        place
            Module and function where the task raised.
        """
        now = self._runtime.clock()
        outcome = decide(
            failure,
            attempt=entry.attempts,
            age=now - entry.since,
            policy=self._definition.policy(self._runtime.settings),
            max_age=entry.not_after - entry.since,
            chance=self._chance(),
        )
        if isinstance(outcome, DeadLetter):
            held = None if recorded else token
            return self.dead(entry, outcome.reason, failure, token=held, place=place)
        if not recorded:
            try:
                again = self._runtime.ledger.retry(
                    entry.id,
                    token=token,
                    due=now + outcome.seconds,
                    cause=outcome.cause,
                    error=outcome.error,
                )
            except ClaimLost:
                self.log.warning("late failure refused")
                return Postpone(SHORT)
            if not again:
                self.log.info("job cancelled")
                return self.dropped()
        self.log.info("job retries", seconds=round(outcome.seconds, 1), cause=outcome.cause)
        return outcome

    def dead(
        self,
        entry: LedgerEntry,
        reason: Reason,
        failure: Failure,
        *,
        token: str | None,
        place: str | None = None,
    ) -> Outcome:
        """Record that the job is dead, then have its message dead-lettered.

        Parameters
        ----------
        token
            The claim's; None where it is given up already.
        """
        died = self._runtime.ledger.die(
            entry.id,
            token=token,
            reason=reason,
            cause=failure.cause,
            error=failure.error,
            verified=True,  # it had been claimed, so its envelope had opened
        )
        if not died:
            self.log.warning("late death refused")
            return Postpone(SHORT)
        self.log.warning("job dead", reason=reason, cause=failure.cause)
        if is_reference(self._envelope):
            try:
                self._runtime.claims.bury(entry.id, self._envelope)
            except SealwaxError as error:
                # Where it is it has no expiry either, and a replay finds it.
                self.log.info("payload not moved", error=type(error).__name__)
        return self.letter(
            reason, failure.cause, failure.error, attempts=entry.attempts, place=place
        )

    def letter(
        self, reason: Reason, cause: str, error: str, *, attempts: int = 0, place: str | None = None
    ) -> DeadLetter:
        """Return the dead letter of this job's message; records nothing."""
        return DeadLetter(
            reason=reason,
            cause=cause,
            error=error,
            attempts=attempts,
            place=place,
            job=self._job_id,
            task=self._definition.name,
        )

    def dropped(self) -> Outcome:
        """End a message whose job needs its payload no more: it has ended well."""
        if is_reference(self._envelope):
            try:
                self._runtime.claims.erase(self._job_id)
            except SealwaxError as error:
                # It costs a few cents; the outcome is recorded.
                self.log.warning("payload not deleted", error=type(error).__name__)
        return Ack()
