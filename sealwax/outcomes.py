"""Outcomes: what becomes of a job's message, as values, and one pure function that decides.

Tasks raise `Rejected` (can never succeed) or `Transient` (try again later);
any other exception counts as transient, because a bug that is mended tomorrow
must not cost the job. The worker turns what was raised into a `Failure` and
asks `decide` for the outcome: `Ack`, `Retry` or `DeadLetter`. The transport
carries it out. Nothing here does I/O, and nothing here keeps an exception's
text: it may hold the payload.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from sealwax.errors import SealwaxError
from sealwax.reasons import Reason
from sealwax.retry import RetryPolicy

__all__ = [
    "Ack",
    "DeadLetter",
    "Failure",
    "Outcome",
    "Reason",
    "Rejected",
    "Retry",
    "Transient",
    "classify",
    "decide",
    "is_soft_limit",
]


@dataclass(frozen=True)
class Ack:
    """Delete the message: its outcome is recorded."""


@dataclass(frozen=True)
class Retry:
    """Deliver the same message again after `after` seconds."""

    after: float


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """Move the message to its dead-letter queue.

    Parameters
    ----------
    reason
        A `Reason`, or its text.
    cause
        Short kebab-case code, such as `http-400`.
    error
        Class name of the exception; never its text.
    place
        Module and function where the task's code raised.
    attempts
        Attempts so far, where somebody counted.
    job
        Job id, where it could be read.
    details
        More JSON values for the letter's attribute.
    """

    reason: Reason
    cause: str | None = None
    error: str | None = None
    place: str | None = None
    attempts: int | None = None
    job: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a text that is no reason (ValueError)."""
        object.__setattr__(self, "reason", Reason(self.reason))  # type: ignore[call-arg]


#: What becomes of a message.
Outcome = Ack | Retry | DeadLetter

_CAUSE = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")


def _cause(text: object, default: str) -> str:
    """Return `text` if it is a machine-readable cause, else `default`.

    A cause goes to ledgers, logs and dead letters; free text could hold the
    payload and is not let through. Nor does it raise: who rejects a job with
    an exception in place of a cause still rejects it.
    """
    return text if isinstance(text, str) and _CAUSE.fullmatch(text) else default


class TaskFailure(SealwaxError):
    """Common root of what a task raises on purpose."""

    default: ClassVar[str] = "failed"

    def __init__(self, cause: str = "", *, detail: str | None = None) -> None:
        self.cause = _cause(cause, self.default)
        #: Free text for the sealed record only; never logged.
        self.detail = detail
        super().__init__(self.cause)


class Rejected(TaskFailure):
    """This job can never succeed: dead-letter it at once.

    Parameters
    ----------
    cause
        Short kebab-case code such as `downstream-400`; anything else becomes
        `rejected`, so that no payload travels in it.
    """

    default = "rejected"


class Transient(TaskFailure):
    """This attempt failed, a later one may succeed.

    Parameters
    ----------
    cause
        Short kebab-case code such as `downstream-503`.
    retry_after
        Seconds that the downstream asked to wait; the next attempt is not earlier.
    """

    default = "transient"

    def __init__(
        self, cause: str = "", *, retry_after: float | None = None, detail: str | None = None
    ) -> None:
        super().__init__(cause, detail=detail)
        self.retry_after = retry_after


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failed attempt, stripped of everything that could hold a payload."""

    kind: Literal["transient", "permanent", "unopenable", "crashed"]
    cause: str
    error: str
    retry_after: float | None = None


def is_soft_limit(error: BaseException) -> bool:
    """Whether an error is a soft time limit's: billiard's, by name, to stay free of Celery."""
    return type(error).__name__ == "SoftTimeLimitExceeded"


def classify(error: BaseException, policy: RetryPolicy) -> Failure:
    """Return what a task's exception means under `policy`.

    The exception's class name is kept (it is code, not data), its text is not.
    """
    name = type(error).__name__
    if isinstance(error, Rejected):
        return Failure(kind="permanent", cause=error.cause, error=name)
    if isinstance(error, Transient):
        return Failure(
            kind="transient", cause=error.cause, error=name, retry_after=error.retry_after
        )
    if policy.permanent and isinstance(error, policy.permanent):
        return Failure(kind="permanent", cause="permanent-error", error=name)
    if is_soft_limit(error):
        return Failure(kind="transient", cause="time-limit", error=name)
    if isinstance(error, MemoryError):
        return Failure(kind="transient", cause="out-of-memory", error=name)
    if isinstance(error, SystemExit):  # its own, or a hard time limit's
        return Failure(kind="transient", cause="terminated", error=name)
    return Failure(kind="transient", cause="unexpected-error", error=name)


def decide(
    failure: Failure,
    *,
    attempt: int,
    age: float,
    policy: RetryPolicy,
    max_age: float,
    chance: float,
) -> Retry | DeadLetter:
    """Return the outcome of a failed attempt.

    Parameters
    ----------
    attempt
        Number of the attempt that failed, from 1.
    age
        Seconds since the job was accepted.
    max_age
        Seconds after which a job without an own limit is not tried again.
    chance
        A random number in [0, 1) for the jitter.
    """
    limit = min(max_age, policy.max_age) if policy.max_age is not None else max_age
    delay = max(policy.delay(attempt, chance), failure.retry_after or 0.0)
    if failure.kind == "permanent":
        reason = Reason.REJECTED
    elif failure.kind == "unopenable":
        reason = Reason.UNOPENABLE
    elif attempt < policy.attempts and age + delay <= limit:
        return Retry(delay)
    else:
        reason = Reason.CRASHED if failure.kind == "crashed" else Reason.EXHAUSTED
    return DeadLetter(
        reason=reason,
        cause=failure.cause,
        error=failure.error,
        attempts=attempt,
    )
