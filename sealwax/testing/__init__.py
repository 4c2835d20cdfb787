"""Help for the tests of a team's own tasks: run a task as a worker would, without AWS.

The payload is validated, sealed, recorded, opened, validated again, and the
result sealed and opened, by the same code as in production: the ledger too is
the real one. Only its table and the queue are in memory.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sealwax.envelope import Expected, Purpose, open_envelope
from sealwax.keys.documents import KeyDocuments
from sealwax.keys.keyring import Keyring
from sealwax.ledger import Ledger, LedgerEntry
from sealwax.outcomes import Retry
from sealwax.producer.publish import QueuedJob
from sealwax.producer.submit import Submitter
from sealwax.runtime import Runtime
from sealwax.secrets import SecretNotFound
from sealwax.settings import Settings, load_settings
from sealwax.task_definition import TaskDefinition
from sealwax.testing.dynamodb import FakeDynamoDB
from sealwax.worker.attempt import Attempt, ReceivedJob

__all__ = ["Outcome", "run_task"]


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

    Between two attempts the ledger's clock is put forward by the retry's delay,
    so that a retry is due when it is run; the task's own clock is not.

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
    model = definition.sealed_contract.model_validate_json(json.dumps(payload))
    if definition.validate is not None and definition.enrich is None:
        definition.validate(model, settings)
    documents = _documents(settings.suite)
    clock = _Clock()
    limits = settings.limits
    dynamodb: Any = FakeDynamoDB()  # it has the calls of a client that the ledger makes
    ledger = Ledger(
        dynamodb,
        settings.table_name("jobs"),
        keep=limits.max_age_seconds + limits.retention_seconds,
        clock=clock,
    )
    source = _MemorySource(dict(documents) | dict(secrets or {}))
    served = {definition.name: definition}
    api = Runtime(settings, "api", served, source=source, ledger=ledger, clock=clock)
    worker = Runtime(settings, "worker", served, source=source, ledger=ledger, clock=clock)
    queue = _Queue()
    submitter = Submitter(api, queue, large="refuse")
    job_id = submitter.submit(definition, payload, tenant=tenant).entry.id
    follow_ups = _Queue()
    delays = []
    for _ in range(attempts):
        outcome = Attempt(
            worker, definition, queue.deliver(clock()), lease=60, publisher=follow_ups
        ).run()
        if not isinstance(outcome, Retry):
            break
        delays.append(outcome.after)
        clock.forward(outcome.after)
    entry = ledger.get(job_id)
    assert entry is not None  # noqa: S101 - it was accepted above
    return Outcome(
        state=entry.state.value,
        result=_open(entry, api.keyring, clock()),
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


def _open(entry: LedgerEntry, keyring: Keyring, now: float) -> Any:
    if entry.result is None:
        return None
    expect = Expected(purpose=Purpose.RESULT, task=entry.task, job=entry.id, tenant=entry.tenant)
    opened = open_envelope(entry.result, keyring=keyring, expect=expect, now=now)
    return json.loads(opened.plaintext)


class _Clock:
    """Epoch seconds, put forward where production would wait."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self._ahead

    def forward(self, seconds: float) -> None:
        self._ahead += seconds


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

    def deliver(self, now: float) -> ReceivedJob:
        assert self._message is not None  # noqa: S101 - published before
        job_id, task, envelope = self._message
        return ReceivedJob(
            job_id=job_id,
            task=task,
            envelope=envelope,
            token=secrets.token_hex(16),
            first_received_at=now,
        )
