"""Job handles of a running task: progress, lease check and follow-up jobs."""

from __future__ import annotations

import json
import time
from typing import Any

import structlog
from pydantic import ValidationError

from sealwax.job import Cancelled, LeaseLost
from sealwax.ledger import JobState, LedgerEntry, LedgerError
from sealwax.outbox.payloads import PayloadStoreUnreachable
from sealwax.outcomes import Rejected, Transient
from sealwax.producer.publish import Publisher
from sealwax.producer.submit import (
    IdempotencyConflict,
    JobInFlux,
    PayloadTooLarge,
    QueueUnavailable,
    Submitter,
)
from sealwax.runtime import Runtime
from sealwax.task_definition import TaskDefinition

__all__ = ["FollowUpSender", "LeaseChecker", "ProgressReporter"]

log = structlog.get_logger("sealwax.worker")

#: Least seconds between two written reports: each is a write request.
_EVERY = 1.0


class ProgressReporter:
    """`job.progress`: numbers and a declared phase, written at most once a second."""

    def __init__(
        self, runtime: Runtime, definition: TaskDefinition[Any], job_id: str, token: str
    ) -> None:
        self._runtime = runtime
        self._phases = frozenset(definition.phases)
        self._job_id = job_id
        self._token = token
        self._last = float("-inf")

    def __call__(self, done: int, total: int | None, phase: str | None) -> None:
        """Report; a phase that was not declared is left out, a lost report costs nothing."""
        now = time.monotonic()
        if now - self._last < _EVERY:
            return
        self._last = now
        try:
            self._runtime.ledger.progress(
                self._job_id,
                token=self._token,
                done=int(done),
                total=None if total is None else int(total),
                phase=phase if phase in self._phases else None,
            )
        except LedgerError as error:
            log.info("progress not recorded", job=self._job_id, error=type(error).__name__)


#: Seconds between two reads of the ledger by `job.check`.
_CHECK_SECONDS = 2.0

#: An attempt stops this many seconds before others may take its job.
_MARGIN = 5.0


class LeaseChecker:
    """`job.check`: whether the attempt still holds its job, and the job is still wanted.

    Parameters
    ----------
    entry
        As claimed; its lease was just begun.
    lease
        Seconds that the lease lasts: the worker's main process renews it.
    """

    def __init__(self, runtime: Runtime, entry: LedgerEntry, token: str, *, lease: float) -> None:
        self._runtime = runtime
        self._job_id = entry.id
        self._token = token
        self._until = time.monotonic() + lease
        self._margin = min(_MARGIN, lease / 4)
        self._next = time.monotonic() + _CHECK_SECONDS

    def __call__(self) -> None:
        """See `sealwax.job.Job.check`."""
        now = time.monotonic()
        # In the margin each check looks: between two of them the lease might end.
        if now < min(self._next, self._until - self._margin):
            return
        self._next = now + _CHECK_SECONDS
        try:
            entry = self._runtime.ledger.get(self._job_id)
        except LedgerError:
            self._runtime.ledger_failed()
            # The call may have taken longer than the lease had left.
            if time.monotonic() >= self._until - self._margin:
                # Whether it was renewed cannot be known: others may have it soon.
                raise LeaseLost from None
            return
        if entry is None or entry.state is not JobState.RUNNING or entry.token != self._token:
            raise LeaseLost
        if entry.cancel_asked is not None:
            raise Cancelled
        left = entry.lease_until - self._runtime.clock()
        if left < self._margin:
            raise LeaseLost
        self._until = time.monotonic() + left


class FollowUpSender:
    """`job.submit`: a follow-up job, signed with the worker's key."""

    def __init__(self, runtime: Runtime, publisher: Publisher | None, parent: LedgerEntry) -> None:
        self._runtime = runtime
        self._publisher = publisher
        self._parent = parent

    def __call__(self, task: str, payload: Any, key: str) -> str:
        """Enqueue; see `sealwax.job.Job.submit`."""
        runtime = self._runtime
        definition = runtime.definitions.get(task)
        if definition is None:
            raise Rejected("unknown-follow-up")
        if self._publisher is None:
            raise NotImplementedError("this job was made without a queue")
        try:
            definition.sealed_contract.model_validate_json(json.dumps(payload))
        except ValidationError:
            raise Rejected("follow-up-contract-broken") from None
        submitter = Submitter(runtime, self._publisher)
        try:
            return submitter.follow_up(definition, payload, parent=self._parent, key=key).entry.id
        except (IdempotencyConflict, PayloadTooLarge) as error:
            raise Rejected(
                "follow-up-too-large"
                if isinstance(error, PayloadTooLarge)
                else "follow-up-key-reused"
            ) from None
        except (JobInFlux, QueueUnavailable, LedgerError, PayloadStoreUnreachable):
            raise Transient("follow-up-not-queued") from None
