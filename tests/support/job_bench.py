"""Sealed jobs as `Attempt` meets them: a real ledger, and a queue that the test turns by hand."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from sealwax.aws.clients import Aws
from sealwax.job import Job
from sealwax.keys.lifecycle import init_keys
from sealwax.ledger import LedgerEntry
from sealwax.outcomes import Outcome
from sealwax.producer.publish import QueuedJob
from sealwax.producer.submit import Submitter
from sealwax.retry import RetryPolicy
from sealwax.runtime import Runtime
from sealwax.secrets.factory import make_source
from sealwax.settings import Settings
from sealwax.task_definition import TaskDefinition, task
from sealwax.worker.attempt import Attempt, ReceivedJob


class Number(BaseModel):
    n: int
    pad: str = ""


class Clock:
    """The time of API, worker and ledger."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@dataclass
class Bench:
    """`submit` accepts a job, `run` delivers its message to a worker once."""

    settings: Settings
    clock: Clock
    api: Runtime
    worker: Runtime
    definition: TaskDefinition[Any]
    #: What the task does; a test puts its own here.
    does: list[Callable[[Number, Job], Any]]
    sent: list[tuple[str, str]] = field(default_factory=list)

    def publish(self, job: QueuedJob) -> None:
        self.sent.append((job.job_id, job.envelope))

    def submitter(self, *, large: bool = False) -> Submitter:
        """Return the producer; `large`: no payload fits into a message."""
        if not large:
            return Submitter(self.api, self, large="refuse")
        api = copy(self.api)
        limits = self.settings.limits.model_copy(update={"message_bytes": 1})
        api.settings = self.settings.model_copy(update={"limits": limits})
        return Submitter(api, self)

    def submit(self, n: int = 1, *, large: bool = False, **options: Any) -> str:
        options.setdefault("tenant", "acme")
        submitter = self.submitter(large=large)
        return submitter.submit(self.definition, {"n": n}, **options).entry.id

    def follow_up(self, parent: LedgerEntry, *, key: str) -> str:
        submitter = self.submitter()
        return submitter.follow_up(self.definition, {"n": 1}, parent=parent, key=key).entry.id

    def deliver(self, job_id: str, **changes: Any) -> ReceivedJob:
        envelope = next(text for known, text in reversed(self.sent) if known == job_id)
        values: dict[str, Any] = {
            "job_id": job_id,
            "task": self.definition.name,
            "envelope": envelope,
            "token": secrets.token_hex(16),
            "first_received_at": self.clock(),
        }
        return ReceivedJob(**(values | changes))

    def run(self, job_id: str, **changes: Any) -> Outcome:
        return Attempt(
            self.worker, self.definition, self.deliver(job_id, **changes), lease=30
        ).run()

    def entry(self, job_id: str) -> LedgerEntry:
        entry = self.worker.ledger.get(job_id)
        assert entry is not None
        return entry


def make_bench(provisioned: Settings, *, attempts: int = 8) -> Bench:
    """Return a bench in an environment that has its tables; makes its keys."""
    init_keys(provisioned, make_source(provisioned, Aws()))
    policy = RetryPolicy(attempts=attempts, base=10, jitter=False)
    does: list[Callable[[Number, Job], Any]] = [lambda payload, _: {"n": payload.n}]

    @task(name="test.number", contract=Number, retry=policy)
    def number(payload: Number, job: Job):
        return does[0](payload, job)

    clock, served = Clock(), {"test.number": number}
    return Bench(
        settings=provisioned,
        clock=clock,
        api=Runtime(provisioned, "api", served, clock=clock),
        worker=Runtime(provisioned, "worker", served, clock=clock),
        definition=number,
        does=does,
    )
