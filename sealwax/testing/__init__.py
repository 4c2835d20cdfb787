"""Help for the tests of a team's own tasks: run a task as a worker would, without AWS.

The payload is validated, sealed, recorded, opened, validated again, and the
result sealed and opened, by the same code as in production. Only the ledger
and the queue are in memory.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, cast

from sealwax.envelope import Expected, Purpose, open_envelope
from sealwax.keys.keyring import KeyDocuments, Keyring
from sealwax.ledger import (
    Accepted,
    Claimed,
    ClaimLost,
    JobState,
    Ledger,
    LedgerEntry,
    NewJob,
    Refused,
)
from sealwax.outcomes import Retry
from sealwax.producer.publish import QueuedJob
from sealwax.producer.submit import Submitter
from sealwax.runtime import Runtime
from sealwax.secrets import SecretNotFound
from sealwax.settings import Settings, load_settings
from sealwax.task_definition import TaskDefinition
from sealwax.worker.attempt import Attempt, ReceivedJob

__all__ = ["MemoryLedger", "Outcome", "run_task"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended, or where it stands after the allowed attempts.

    Parameters
    ----------
    state
        `succeeded`, `retrying`, `dead`, …
    result
        What its caller would read; None unless it succeeded.
    reason, cause, error
        Of a failure: the dead letter's reason, the machine-readable cause, and
        the exception's class name.
    delays
        Seconds that each retry would have waited.
    follow_ups
        Names of the tasks that `job.submit` enqueued; they are not run.
    """

    state: str
    result: Any = None
    attempts: int = 0
    reason: str | None = None
    cause: str | None = None
    error: str | None = None
    delays: tuple[float, ...] = ()
    follow_ups: tuple[str, ...] = ()


def run_task(
    definition: TaskDefinition[Any],
    payload: Any,
    *,
    secrets: Mapping[str, str] | None = None,
    settings: Settings | None = None,
    tenant: str = "test",
    attempts: int = 1,
) -> Outcome:
    """Submit a payload and run up to `attempts` attempts of it, without waiting between.

    Parameters
    ----------
    payload
        What a caller would send.
    secrets
        Values of the secrets that the task declares.
    settings
        Default: the environment's, with the tasks' sections in them.

    Raises
    ------
    pydantic.ValidationError, sealwax.task_definition.InvalidPayload
        Where the API would have refused the payload with 422.

    Example
    -------
    >>> from tasks.greetings import greet
    >>> run_task(greet, {"name": "Ada"}).state
    'succeeded'
    """
    settings = settings or load_settings()
    # With enrichment the payload is what the API would seal: nothing is fetched here.
    model = definition.sealed_contract.model_validate(payload)
    if definition.validate is not None and definition.enrich is None:
        definition.validate(model, settings)
    documents = _documents(settings.suite)
    ledger = MemoryLedger()
    source = _MemorySource(dict(documents) | dict(secrets or {}))
    served = {definition.name: definition}
    in_memory = cast("Ledger", ledger)
    api = Runtime(settings, "api", served, source=source, ledger=in_memory)
    worker = Runtime(settings, "worker", served, source=source, ledger=in_memory)
    queue = _Queue()
    submitter = Submitter(
        settings=settings,
        keyring=lambda: api.keyring,
        digests=lambda: api.digests,
        ledger=in_memory,
        publisher=queue,
    )
    job_id = submitter.submit(definition, payload, tenant=tenant).entry.id
    follow_ups = _Queue()
    delays = []
    for _ in range(attempts):
        outcome = Attempt(worker, definition, queue.deliver(), lease=60, publisher=follow_ups).run()
        if not isinstance(outcome, Retry):
            break
        delays.append(outcome.after)
    entry = ledger.get(job_id)
    assert entry is not None  # noqa: S101 - it was accepted above
    return Outcome(
        state=entry.state.value,
        result=_open(entry, api.keyring),
        attempts=entry.attempts,
        reason=entry.reason,
        cause=entry.cause,
        error=entry.error,
        delays=tuple(delays),
        follow_ups=tuple(follow_ups.tasks),
    )


@cache
def _documents(suite: str) -> Mapping[str, str]:
    return KeyDocuments.create(suite, int(time.time())).secrets()


def _open(entry: LedgerEntry, keyring: Keyring) -> Any:
    if entry.result is None:
        return None
    expect = Expected(purpose=Purpose.RESULT, task=entry.task, job=entry.id, tenant=entry.tenant)
    opened = open_envelope(entry.result, keyring=keyring, expect=expect, now=time.time())
    return json.loads(opened.plaintext)


@dataclass
class _MemorySource:
    values: dict[str, str] = field(repr=False)

    def get(self, name: str) -> str:
        try:
            return self.values[name]
        except KeyError:
            raise SecretNotFound(
                f"The task declares the secret {name}: run_task(…, secrets={{{name!r}: …}})."
            ) from None

    def version(self, name: str) -> int:
        return int(name in self.values)

    def put(self, name: str, value: str, *, replacing: int | None = None) -> int:  # noqa: ARG002
        self.values[name] = value
        return 1


class _Queue:
    """Holds the one message."""

    def __init__(self) -> None:
        self._message: tuple[str, str, str] | None = None
        self.tasks: list[str] = []

    def publish(self, job: QueuedJob) -> None:
        # One queue, one tenant, at once.
        self._message = (job.job_id, job.definition.name, job.envelope)
        self.tasks.append(job.definition.name)

    def deliver(self) -> ReceivedJob:
        assert self._message is not None  # noqa: S101 - published before
        job_id, task, envelope = self._message
        return ReceivedJob(
            job_id=job_id,
            task=task,
            envelope=envelope,
            token=secrets.token_hex(16),
            first_received_at=time.time(),
        )


class MemoryLedger:
    """The ledger's operations in memory; see `sealwax.ledger.Ledger` for each."""

    def __init__(self) -> None:
        self._entries: dict[str, LedgerEntry] = {}

    def get(self, job_id: str) -> LedgerEntry | None:
        """Return a job's entry."""
        return self._entries.get(job_id)

    def accept(self, job: NewJob) -> Accepted:
        """Record a new job."""
        entry = self._entries.get(job.id)
        if entry is not None:
            return Accepted(created=False, entry=entry)
        entry = LedgerEntry(state=JobState.ACCEPTED, updated=job.created, **vars(job))
        self._entries[job.id] = entry
        return Accepted(created=True, entry=entry)

    def disown(self, job_id: str) -> bool:
        """Let nobody abandon the job any more."""
        return self._entries[job_id].state is JobState.ACCEPTED

    def claim(
        self,
        job_id: str,
        *,
        token: str,
        lease: float,
        generation: int = 0,  # noqa: ARG002 - nothing is replayed here
        alone: bool = False,  # noqa: ARG002 - nor crashes
    ) -> Claimed | Refused:
        """Start an attempt."""
        entry = self._entries.get(job_id)
        if entry is None or entry.final or entry.state is JobState.RUNNING:
            return Refused(entry)
        return Claimed(
            self._put(
                entry,
                state=JobState.RUNNING,
                token=token,
                lease_until=time.time() + lease,
                attempts=entry.attempts + 1,
                fence=entry.fence + 1,
                started=time.time(),
                cause=None,
                error=None,
            )
        )

    def progress(
        self, job_id: str, *, token: str, done: int, total: int | None, phase: str | None
    ) -> bool:
        """Record progress."""
        self._put(self._held(job_id, token), progress_done=done, progress_total=total, phase=phase)
        return True

    def succeed(
        self, job_id: str, *, token: str, result: str | None, omitted: str | None = None
    ) -> None:
        """Record success."""
        self._put(
            self._held(job_id, token),
            state=JobState.SUCCEEDED,
            result=result,
            result_omitted=omitted,
            finished=time.time(),
        )

    def retry(self, job_id: str, *, token: str, due: float, cause: str, error: str) -> bool:
        """Record a failed attempt."""
        entry = self._held(job_id, token)
        self._put(entry, state=JobState.RETRYING, due=due, cause=cause, error=error)
        return True

    def die(
        self,
        job_id: str,
        *,
        token: str | None,
        reason: str,
        cause: str,
        error: str,
        verified: bool = False,  # noqa: ARG002 - the ledger's signature
    ) -> bool:
        """Record a death."""
        entry = self._held(job_id, token) if token else self._entries[job_id]
        self._put(
            entry,
            state=JobState.DEAD,
            reason=reason,
            cause=cause,
            error=error,
            finished=time.time(),
        )
        return True

    def _held(self, job_id: str, token: str) -> LedgerEntry:
        entry = self._entries[job_id]
        if entry.state is not JobState.RUNNING or entry.token != token:
            raise ClaimLost
        return entry

    def _put(self, entry: LedgerEntry, **changes: Any) -> LedgerEntry:
        entry = replace(entry, updated=time.time(), **changes)
        self._entries[entry.id] = entry
        return entry
