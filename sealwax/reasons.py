"""Reasons for dead letters: every one that there is, and whether its letter is a job's own.

A letter says one of these; `docs/dead-letters.md` tells operators what to do
about each. `sealwax.outcomes` gives those that follow a failure, the worker and
the transport the others.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

__all__ = ["Reason"]


class Reason(StrEnum):
    """Dead-letter reasons, each with its text for operators.

    Attributes
    ----------
    text
        One sentence without its full stop: what happened to the message.
    verified
        Whether the reason is given only to a job's own message, whose signature
        was verified. A letter of any other reason may be anybody's who can write
        to the queue: it names a job by its own word and never takes the place of
        the job's own letter.
    """

    text: str
    verified: bool

    def __new__(cls, value: str, verified: bool, text: str) -> Self:  # noqa: FBT001 - a row of the table below
        """Make the member of one row."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.verified = verified
        member.text = text
        return member

    REJECTED = "rejected", True, "The task refused the job for good"
    EXHAUSTED = "exhausted", True, "The job used up its attempts or its time"
    CRASHED = "crashed", True, "The job's process died again and again"
    UNOPENABLE = (
        "unopenable",
        True,
        "The job's own envelope can no longer be opened: its key was retired or is not held",
    )
    UNKNOWN_JOB = "unknown-job", False, "The message is genuine but the ledger knows no such job"
    MALFORMED = "malformed", False, "The message is no task message"
    UNKNOWN_TASK = "unknown-task", True, "No worker of this queue knows the task"
    STRAY = "stray", False, "The message is no job's own: nobody who may has signed it for this use"
    #: Given by the steward to letters that SQS's own redrive moved; never by a worker.
    BACKSTOP = "backstop", False, "SQS gave up on the message after a thousand receives"

    @classmethod
    def read(cls, value: object) -> Reason | None:
        """Return the reason that a stored text names; None for any other value."""
        try:
            return cls(value)  # type: ignore[call-arg,arg-type]
        except ValueError:
            return None
