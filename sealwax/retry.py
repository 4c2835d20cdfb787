"""When a failed attempt is tried again: a value, without I/O or state."""

from __future__ import annotations

from dataclasses import dataclass

from sealwax.aws.backoff import backoff
from sealwax.errors import ConfigurationError

__all__ = ["RetryPolicy"]

#: SQS lets a message be invisible for at most 12 hours from its receive.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
MAX_DELAY = 43_200.0


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with full jitter.

    Parameters
    ----------
    attempts
        Attempts in all, the first included; at least 1.
    base
        Seconds of the first delay's upper bound; doubles with each attempt.
    cap
        Upper bound of a delay in seconds, at most 12 hours.
    jitter
        With it (the default) a delay is uniform in [0, bound); without, the bound.
    max_age
        Seconds after acceptance when no further attempt starts; None: the
        setting `limits.max_age_seconds`.
    permanent
        Exception classes that end the job at once, besides `Rejected`.

    Example
    -------
    >>> RetryPolicy(attempts=3, base=2, jitter=False).delay(2, 0.0)
    4.0
    """

    attempts: int = 8
    base: float = 2.0
    cap: float = 900.0
    jitter: bool = True
    max_age: float | None = None
    permanent: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        """Refuse values that would loop or never try."""
        if not 1 <= self.attempts <= 100:
            raise ConfigurationError("RetryPolicy.attempts must be from 1 to 100.")
        if not 0 <= self.base <= self.cap <= MAX_DELAY:
            raise ConfigurationError("RetryPolicy needs 0 <= base <= cap <= 43200 seconds.")
        if self.max_age is not None and self.max_age <= 0:
            raise ConfigurationError("RetryPolicy.max_age must be positive.")

    def delay(self, attempt: int, chance: float) -> float:
        """Return the seconds to wait after attempt number `attempt` (from 1).

        `chance` in [0, 1) is the caller's random number.
        """
        bound = backoff(attempt - 1, base=self.base, cap=self.cap)
        return bound * chance if self.jitter else bound
