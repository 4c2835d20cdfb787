"""What a running task knows of its job.

Handed to every task function as its second argument. It holds no AWS
credentials of the engine and no keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import structlog

from sealwax.aws.clients import Aws
from sealwax.errors import SealwaxError
from sealwax.settings import Settings

__all__ = ["Answer", "Asked", "Cancelled", "Job", "LeaseLost", "RouteClosed", "SecretNotDeclared"]


class LeaseLost(SealwaxError):
    """Another worker may have this job now; stop before the next effect."""


class Cancelled(SealwaxError):
    """Somebody cancelled this job; let it through, after cleaning up."""


class RouteClosed(SealwaxError):
    """The system has failed several times in a row; let it through, the job is postponed.

    Parameters
    ----------
    after
        Seconds after which to try again.
    """

    def __init__(self, host: str, *, after: float) -> None:
        self.host = host
        self.after = after
        super().__init__(f"{host} is not asked: it has failed several times in a row.")


class SecretNotDeclared(SealwaxError):
    """The task did not declare this secret; name it in `@task(secrets=…)`."""


#: What came of a request: an answer; one that says that the system is in trouble (429,
#: 5xx); none.
Answer = Literal["well", "trouble", "none"]


@dataclass(frozen=True)
class Asked:
    """What a request is sent to.

    Parameters
    ----------
    host
        With its port, where that is not the scheme's own.
    mark
        Stands for the path, which may tell of the payload.
    """

    host: str
    mark: str


class Breaker(Protocol):
    """Who knows which systems fail; a worker's `RouteBreakers`."""

    def enter(self, task: str, asked: Asked, tenant: str) -> None:
        """Raise `RouteClosed` where a request must not be sent now."""

    def leave(self, task: str, asked: Asked, tenant: str, *, answer: Answer) -> None:
        """Hear what came of a request."""


def _nothing() -> None:
    return None


def _asked(host: str, path: str) -> Asked:
    return Asked(host, hashlib.sha256(path.partition("?")[0].encode()).hexdigest()[:16])


@dataclass(frozen=True, kw_only=True)
class Job:
    """One attempt of one job.

    Parameters
    ----------
    id
        32 hex digits; the same in every attempt and replay. Send it downstream
        as the idempotency key.
    task
        The task's name.
    tenant
        HMAC of the tenant, hex; names never leave the API.
    attempt
        Number of this attempt, from 1.
    accepted_at
        Epoch seconds when the caller got 202.
    settings
        The worker's settings.
    """

    id: str
    task: str
    tenant: str
    attempt: int
    accepted_at: float
    settings: Settings
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    aws: Aws | None = field(default=None, repr=False)
    checker: Callable[[], None] = field(default=_nothing, repr=False)
    reporter: Callable[[int, int | None, str | None], None] | None = field(default=None, repr=False)
    sender: Callable[[str, Any, str], str] | None = field(default=None, repr=False)
    breaker: Breaker | None = field(default=None, repr=False)

    @property
    def log(self) -> Any:
        """A logger bound to the job; never log payloads with it."""
        return structlog.get_logger("sealwax.task_definition").bind(
            job=self.id, task=self.task, tenant=self.tenant, attempt=self.attempt
        )

    def secret(self, name: str) -> str:
        """Return a secret that the task declared; read once at start, no I/O here.

        Raises
        ------
        SecretNotDeclared
            Where the task's `secrets` did not name it.
        """
        try:
            return self.secrets[name]
        except KeyError:
            raise SecretNotDeclared(
                f"Secret {name} is not declared; name it in @task(secrets=…)."
            ) from None

    def check(self) -> None:
        """Raise if this attempt must not go on; call it before each effect.

        Looks into the ledger at most every two seconds, so it may be called
        often, and a job of a moment costs nothing more.

        Raises
        ------
        LeaseLost
            Another worker may have the job.
        Cancelled
            Its producer does not want it any more.
        """
        self.checker()

    def asks(self, host: str, path: str) -> None:
        """Raise if a system has failed too often to be asked; `asked` must follow.

        The shipped HTTP client calls both.

        Raises
        ------
        RouteClosed
            Let it through: the job is postponed, and loses no attempt.
        """
        if self.breaker is not None:
            self.breaker.enter(self.task, _asked(host, path), self.tenant)

    def asked(self, host: str, path: str, *, answer: Answer) -> None:
        """Note what came of a request."""
        if self.breaker is not None:
            self.breaker.leave(self.task, _asked(host, path), self.tenant, answer=answer)

    def submit(self, task: str, payload: Any, *, key: str) -> str:
        """Enqueue a follow-up job for the same tenant; return its id.

        Signed with the worker's key. The id follows from this job's id and
        `key`, so that a repeated attempt enqueues nothing twice.

        Parameters
        ----------
        task
            Its name.
        payload
            What its function gets (enriched already, where the task enriches).
        key
            Tells this job's follow-ups apart.

        Raises
        ------
        sealwax.outcomes.Rejected
            Unknown task, or a payload that does not fit its contract.
        sealwax.outcomes.Transient
            The queue or the ledger cannot be reached.
        """
        if self.sender is None:
            raise NotImplementedError("this job was made without a queue")
        return self.sender(task, payload, key)

    def progress(self, done: int, total: int | None = None, phase: str | None = None) -> None:
        """Show callers how far the job is; written at most once a second.

        Parameters
        ----------
        done, total
            Counts.
        phase
            One of the task's declared `phases`.
        """
        if self.reporter is not None:
            self.reporter(done, total, phase)
