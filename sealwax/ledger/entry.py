"""One job's entry, as the ledger keeps it. Values only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = [
    "DEAD_WATCH",
    "FINAL",
    "MAX_GENERATION",
    "UNUSED_ID",
    "JobState",
    "LedgerEntry",
    "NewJob",
    "is_job_id",
    "open_watch",
    "read_generation",
]  # fmt: skip

#: An id that no job has: to see whether the ledger answers.
UNUSED_ID = "0" * 32

#: Highest generation that a message may name; no job is replayed so often.
MAX_GENERATION = 1_000_000


class JobState(StrEnum):
    """Where a job is."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    #: The queue could not be reached and the caller was told so; a late message
    #: of it is acknowledged, not run.
    ABANDONED = "abandoned"


_JOB_ID = re.compile(r"[0-9a-f]{32}")


def read_generation(value: Any) -> int | None:
    """Return the generation that a header names, 0 where there is none; None for a wrong one."""
    if value is None:
        return 0
    return value if type(value) is int and 0 <= value <= MAX_GENERATION else None


def is_job_id(text: str) -> bool:
    """Whether a text can be a job's id; anything else must not reach DynamoDB."""
    return _JOB_ID.fullmatch(text) is not None


#: States that no attempt leaves again.
FINAL = frozenset(
    {JobState.SUCCEEDED, JobState.DEAD, JobState.CANCELLED, JobState.EXPIRED, JobState.ABANDONED},
)


#: Where dead jobs are found in the index `by-watch`.
DEAD_WATCH = "dead"


def open_watch(lane: str) -> str:
    """Return where a lane's jobs that have not ended are found in the index `by-watch`."""
    return f"open#{lane}"


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """What `accept` records.

    Parameters
    ----------
    id
        32 hex digits.
    tenant
        HMAC of the tenant, hex.
    fingerprint
        HMAC of the request before enrichment, with its key's version; None
        where the caller gave no idempotency key.
    not_after
        Epoch seconds after which no attempt starts.
    expires
        Epoch seconds when DynamoDB may drop the finished entry.
    recipient, signer
        Ids of the keys that the envelope needs: `keys retire` counts by them.
    not_before
        Epoch seconds before which the first attempt should not start.
    parent
        The job that enqueued this one, if one did.
    acceptance
        Random name of this request: only it may abandon the job, and only
        until the request is repeated.
    run_before
        Epoch seconds from which no attempt starts any more: the producer's word.
    claim_checks
        The reference that its message carries in place of the envelope; empty
        where the message carries the envelope.
    """

    id: str
    task: str
    tenant: str
    lane: str
    contract: int
    created: float
    not_after: int
    expires: int
    claim_checks: tuple[str, ...] = ()
    fingerprint: str | None = None
    recipient: str | None = None
    signer: str | None = None
    parent: str | None = None
    acceptance: str | None = None
    not_before: float | None = None
    run_before: float | None = None


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """A job's entry.

    Parameters
    ----------
    generation, replays, replayed
        How often the job was replayed (twice over: a generation is what
        messages are compared with) and when it last was, in epoch seconds.
    tenant, watch
        Without the shard that the stored ones name. `watch` is its place in the
        index `by-watch`, None where it needs nobody's eye.
    cancel_asked
        Epoch seconds when somebody asked the running attempt to stop.
    suspicions
        Whole workers that were lost while this job ran on them among others.
    suspected
        Tokens of those attempts, and, with a `!` behind it, of those that were
        counted as crashes: their workers may come back, and take it back.
    alone
        The running attempt shares its worker with no other.
    claim_checks
        References to S3 that its messages may carry, one for each request that
        sent it; None in entries of versions that recorded none.
    """

    id: str
    state: JobState
    task: str
    tenant: str
    lane: str
    contract: int
    created: float
    updated: float
    not_after: int
    expires: int | None = None
    attempts: int = 0
    fence: int = 0
    crashes: int = 0
    token: str | None = None
    lease_until: float = 0.0
    started: float | None = None
    finished: float | None = None
    due: float | None = None
    fingerprint: str | None = None
    reason: str | None = None
    cause: str | None = None
    error: str | None = None
    progress_done: int | None = None
    progress_total: int | None = None
    phase: str | None = None
    recipient: str | None = None
    signer: str | None = None
    parent: str | None = None
    acceptance: str | None = None
    result: str | None = None
    result_omitted: str | None = None
    generation: int = 0
    replays: int = 0
    replayed: float | None = None
    watch: str | None = None
    not_before: float | None = None
    cancel_asked: float | None = None
    run_before: float | None = None
    suspicions: int = 0
    suspected: frozenset[str] = frozenset()
    alone: bool = False
    claim_checks: tuple[str, ...] | None = None

    @property
    def since(self) -> float:
        """Epoch seconds from which the job's age counts: its last replay, or its first chance."""
        if self.replayed is not None:
            return self.replayed
        return max(self.created, self.not_before or 0.0)

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self.state in FINAL

    @classmethod
    def from_item(cls, item: dict[str, Any]) -> LedgerEntry:
        """Read DynamoDB's typed item.

        Unknown attributes are left out, so that a newer version's entries can
        be read during a rolling deploy.
        """
        known = cls.__dataclass_fields__
        values: dict[str, Any] = {}
        for name, typed in item.items():
            if name not in known:
                continue
            kind, value = next(iter(typed.items()))
            if kind == "N":
                number = float(value)
                values[name] = number if known[name].type in _FLOATS else int(number)
            elif kind in ("S", "BOOL"):
                values[name] = value
            elif kind == "SS":
                values[name] = frozenset(value)
            elif kind == "L":
                values[name] = tuple(each["S"] for each in value)
        values["state"] = JobState(values["state"])
        values["tenant"] = values["tenant"].partition("#")[0]
        if "watch" in values:
            # By what the entry says: a lane's name may look like another's shard.
            opened = values["watch"].startswith("open#")
            values["watch"] = open_watch(values["lane"]) if opened else DEAD_WATCH
        return cls(**values)


_FLOATS = {"float", "float | None"}
