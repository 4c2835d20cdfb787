"""What the sweep has seen of old open jobs, so that a pass reads only those whose time has come.

Called by the sweep. A note says when a job must be looked at next. Notes stand in
the control table, thousands to an item, in the order of the index of open jobs, so
that a pass joins the two by reading both once. They save reading and decide
nothing: without them each job is looked at, and no note is believed for longer
than `LONGEST`. Jobs' own entries and indexes are never written.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import structlog

from sealwax.aws.clock import AWS_CLOCK
from sealwax.control.table import ControlDenied, ControlTable, ControlUnreachable
from sealwax.ledger import is_job_id

__all__ = ["LONGEST", "MOST", "Note", "Stretch", "SweepNotes", "Where", "aligned"]

log = structlog.get_logger("sealwax.steward")

Where = Literal["outbox", "letter", "unaccounted"]

#: Jobs of one item: 100 KB of the 400 that DynamoDB takes.
#: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
MOST = 4_000

#: Seconds after which a job is looked at again, whatever its note says.
LONGEST = 86_400.0

#: Jobs that one item takes at most: those of one moment are never parted.
_MOST_AT_ONCE = 15_000

#: Seconds after which notes that nobody writes any more may be dropped.
_KEEP = 3 * LONGEST

#: A job's id, epoch seconds of its next look, looks that found it standing still
#: (six bits) and who had its message (two).
_ROW = struct.Struct(">16sQB")
_WHERE: tuple[Where | None, ...] = (None, "outbox", "letter", "unaccounted")


@dataclass(frozen=True, slots=True)
class Note:
    """When a job is looked at next (`look`, epoch seconds), and what the last look found.

    `still` counts the looks in a row that found it standing still, `where` who had
    its message then.
    """

    look: int
    still: int = 0
    where: Where | None = None

    def waits(self, now: float) -> bool:
        """Whether the job need not be looked at yet."""
        return now < self.look <= now + LONGEST


@dataclass
class Stretch:
    """Jobs of one shard that were created after the stretch before and not after `until`.

    Parameters
    ----------
    stored
        Ids of the items that held these notes.
    open
        Ids of the jobs that are open now, in their order.
    """

    until: float
    notes: dict[str, Note] = field(default_factory=dict)
    stored: tuple[str, ...] = ()
    open: list[str] = field(default_factory=list)


class SweepNotes:
    """Access to the notes in the control table; without it there are none, and all is looked at."""

    def __init__(self, table: ControlTable, clock: Callable[[], float] = AWS_CLOCK) -> None:
        self._table = table
        self._clock = clock

    def stretches(self, lane: str, shard: int) -> Iterator[Stretch]:
        """Yield a shard's notes, the oldest jobs first."""
        try:
            for item in self._table.all(_kind(lane, shard)):
                yield Stretch(float(item["until"]), unpack(item["notes"]), (item["id"],))
        except (ControlDenied, ControlUnreachable) as error:
            log.warning("sweep without notes", lane=lane, shard=shard, error=str(error))

    def keep(self, lane: str, shard: int, stretch: Stretch, notes: Mapping[str, Note]) -> None:
        """Write a stretch's notes in place of what held them before."""
        kind, name = _kind(lane, shard), f"{stretch.until:020.6f}"
        old = set(stretch.stored)
        try:
            if notes:
                values = {
                    "until": stretch.until,
                    "notes": pack(notes),
                    "expires": int(self._clock() + _KEEP),
                }
                self._table.put(kind, name, values)
                old.discard(name)
            for each in old:
                self._table.delete(kind, each)
        except (ControlDenied, ControlUnreachable) as error:
            log.warning("sweep without notes", lane=lane, shard=shard, error=str(error))


def _kind(lane: str, shard: int) -> str:
    return f"sweep#{lane}#{shard}"


def pack(notes: Mapping[str, Note]) -> bytes:
    """Return notes as bytes; pure."""
    return b"".join(
        _ROW.pack(
            bytes.fromhex(job), note.look, min(note.still, 63) << 2 | _WHERE.index(note.where)
        )
        for job, note in itertools.islice(notes.items(), _MOST_AT_ONCE)
        # Whatever else stands in the index has no note, and is looked at.
        if is_job_id(job)
    )


def unpack(packed: bytes) -> dict[str, Note]:
    """Return the notes of packed bytes, none where they are damaged; pure."""
    if len(packed) % _ROW.size:
        return {}
    return {
        job.hex(): Note(look, found >> 2, _WHERE[found & 3])
        for job, look, found in _ROW.iter_unpack(packed)
    }


def aligned(stretches: Iterable[Stretch], rows: Iterable[tuple[float, str]]) -> Iterator[Stretch]:
    """Yield stretches with the jobs that are open in each; neighbours of few jobs become one.

    Parameters
    ----------
    rows
        When each open job was created, and its id, in the order of the index.
    """
    before: Stretch | None = None
    for stretch in _joined(stretches, iter(rows)):
        if before is not None and len(before.open) + len(stretch.open) <= MOST:
            before = Stretch(
                stretch.until,
                before.notes | stretch.notes,
                before.stored + stretch.stored,
                before.open + stretch.open,
            )
            continue
        if before is not None:
            yield before
        before = stretch
    if before is not None:
        yield before


def _joined(stretches: Iterable[Stretch], rows: Iterator[tuple[float, str]]) -> Iterator[Stretch]:
    row = next(rows, None)
    for stretch in stretches:
        while row is not None and row[0] <= stretch.until:
            stretch.open.append(row[1])
            row = next(rows, None)
        yield stretch
    while row is not None:
        made = Stretch(row[0])
        # Jobs that were created at the same moment are never parted.
        while row is not None and (len(made.open) < MOST or row[0] == made.until):
            made.until = row[0]
            made.open.append(row[1])
            row = next(rows, None)
        yield made
