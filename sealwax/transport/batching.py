"""Which entries share one SQS call: the plan, without threads, clocks or AWS.

Called by the batcher under its lock. It must never reorder two entries of one
message group, nor put two of them into one call: SQS reports success by entry,
and a group whose first entry failed while its second went through has lost its
order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sealwax.aws.sqs import BATCH_ENTRIES

__all__ = ["BatchEntry", "EntryResult", "take_batch"]


@dataclass(frozen=True, slots=True)
class EntryResult:
    """What became of one entry."""

    ok: bool
    code: str = ""
    retryable: bool = False
    message_id: str = ""


@dataclass(slots=True, eq=False)
class BatchEntry:
    """One send, delete or visibility change waiting for its call.

    Parameters
    ----------
    fields
        The entry of the AWS request, without its `Id`.
    done
        Called once with the outcome, from a batcher thread.
    deadline
        Monotonic seconds after which a failing entry is given up.
    size
        Bytes that count against the batch limit.
    group
        Message group of a FIFO queue, else None.
    skip
        Asked just before the call; True drops the entry as done.
    """

    fields: dict[str, Any]
    done: Callable[[EntryResult], None]
    deadline: float
    size: int = 0
    group: str | None = None
    skip: Callable[[], bool] | None = None
    alone: bool = False
    attempts: int = 0
    since: float = 0.0
    not_before: float = field(default=0.0)
    cancelled: bool = False


def take_batch(
    ready: deque[BatchEntry],
    *,
    max_bytes: int,
    busy_groups: set[str] | frozenset[str] = frozenset(),
) -> list[BatchEntry]:
    """Take from the left of `ready` what one call may carry.

    Entries that may not go along (their group is busy, or they would exceed
    the bytes) keep their place and order.
    """
    batch: list[BatchEntry] = []
    skipped: list[BatchEntry] = []
    groups = set(busy_groups)
    total = 0
    while ready and len(batch) < BATCH_ENTRIES:
        entry = ready.popleft()
        too_big = bool(batch) and (total + entry.size > max_bytes)
        if too_big or (entry.group is not None and entry.group in groups):
            skipped.append(entry)
            if entry.group is not None:
                groups.add(entry.group)
            if too_big:
                break
            continue
        if entry.alone and batch:
            skipped.append(entry)
            break
        batch.append(entry)
        total += entry.size
        if entry.group is not None:
            groups.add(entry.group)
        if entry.alone:
            break
    ready.extendleft(reversed(skipped))
    return batch
