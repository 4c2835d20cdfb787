"""What a shard's reader has read and not yet delivered, key by key. Pure.

Records of one key are delivered one after another; keys wait for nobody else. A key
whose record failed is *held*: the checkpoint moves past it and names it. What does
not fit into memory is *spilled*: read again, from the Stream, when there is room.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice

from pydantic import BaseModel, ConfigDict, Field

from sealwax.aws.backoff import backoff
from sealwax.streams.records import StreamRecord, place_of

__all__ = ["Backlog", "StreamLimits"]


class StreamLimits(BaseModel):
    """Limits of a reader of Streams; seconds, records, bytes."""

    model_config = ConfigDict(extra="forbid")

    page: int = Field(1_000, ge=1, le=1_000, description="Most records of one GetRecords.")
    records: int = Field(2_000, ge=1, description="Records of one shard kept in memory.")
    bytes: int = Field(32_000_000, ge=400_000, description="Their bytes, as DynamoDB counts them.")
    of_key: int = Field(500, ge=1, description="Records of one key kept in memory.")
    keys: int = Field(
        200,
        ge=1,
        le=2_000,
        description="Keys of one shard that its checkpoint passes and names; with more of "
        "them held, the shard is read no further.",
    )
    batch: int = Field(100, ge=1, le=1_000, description="Records that are delivered together.")
    budget: float = Field(
        10.0, gt=0, description="Seconds from a record's first refusal until it is set aside."
    )
    first_wait: float = Field(0.25, gt=0, description="Seconds after the first refusal; doubled.")
    longest_wait: float = Field(5.0, gt=0, description="Most seconds between two tries.")
    checkpoint_every: float = Field(1.0, gt=0, description="Seconds between checkpoints.")
    busy: float = Field(0.25, ge=0, description="Seconds between reads that bring something.")
    idle: float = Field(1.0, ge=0, description="Seconds between reads that bring nothing.")
    lease: float = Field(6.0, ge=1, description="Seconds that a shard's lease lasts unrenewed.")
    describe_every: float = Field(60.0, gt=0, description="Seconds between looks for new shards.")


@dataclass
class _Key:
    """One key's records in order, and how its first one fares."""

    records: deque[StreamRecord] = field(default_factory=deque)
    tries: int = 0
    #: When its first record was refused for the first time.
    since: float | None = None
    ready: float = 0.0
    #: Whether the checkpoint may pass it.
    held: bool = False


class Backlog:
    """The undelivered records of one shard.

    Parameters
    ----------
    position
        Sequence number up to which all was read before.
    held
        Keys that the checkpoint had passed, with the sequence number after which
        each has records that were not delivered.
    """

    def __init__(
        self, limits: StreamLimits, *, position: str = "", held: dict[str, str] | None = None
    ) -> None:
        self._limits = limits
        self._keys: dict[str, _Key] = {}
        self._size = 0
        self._count = 0
        self.position = position
        #: Keys with records that are only in the Stream, and after which these begin.
        self.spilled: dict[str, str] = dict(held or {})
        self._stalled: set[str] = set()

    @property
    def empty(self) -> bool:
        """Whether nothing waits, in memory or in the Stream."""
        return not self._keys and not self.spilled

    @property
    def room(self) -> bool:
        """Whether another page may be read.

        Not where the checkpoint could name no more keys: what is read would have to be
        read again after a crash, without bound.
        """
        named = len(self.spilled.keys() | {name for name, key in self._keys.items() if key.held})
        return (
            self._count < self._limits.records
            and self._size < self._limits.bytes
            and named < self._limits.keys
        )

    def oldest(self) -> float | None:
        """Return when the oldest record in memory was created; None where there is none."""
        return min((key.records[0].created for key in self._keys.values()), default=None)

    def add(self, name: str, record: StreamRecord) -> None:
        """Take a record that was read for the first time."""
        self.passed(record.sequence)
        if name in self.spilled:
            return
        if self._fits(name):
            self._append(name, record)
        else:
            self.spilled[name] = record.before

    def add_recovered(self, name: str, record: StreamRecord) -> None:
        """Take a record that the table told, which no checkpoint can come back to."""
        self._append(name, record)

    def passed(self, sequence: str) -> None:
        """Note that the shard was read up to this record."""
        self.position = sequence or self.position

    def wants_pass(self) -> bool:
        """Whether what was spilled is to be read again: some of it would fit."""
        return any(name not in self._keys for name in self.spilled) and self.room_again

    @property
    def room_again(self) -> bool:
        """Whether memory takes more of what is read again."""
        return self._count < self._limits.records and self._size < self._limits.bytes

    def begin_pass(self) -> str:
        """Begin to read again what was spilled; return the sequence number to read after."""
        self._stalled.clear()
        return min(self.spilled.values(), key=place_of)

    def add_again(self, name: str, record: StreamRecord) -> None:
        """Take a record of a pass; what was not spilled is passed over.

        Of a key whose next record does not fit, none behind it is taken.
        """
        after = self.spilled.get(name)
        if after is None or name in self._stalled or record.place <= place_of(after):
            return
        if self._fits(name):
            self._append(name, record)
            self.spilled[name] = record.sequence
        else:
            self._stalled.add(name)

    def end_pass(self) -> None:
        """Note that a pass has reached `position`: what did not stall is in memory now."""
        for name in [name for name in self.spilled if name not in self._stalled]:
            del self.spilled[name]

    def batch(self, now: float) -> list[tuple[str, StreamRecord]]:
        """Return the first record of each key that is ready, the longest waiting key first."""
        ready = ((name, key.records[0]) for name, key in self._keys.items() if key.ready <= now)
        return list(islice(ready, self._limits.batch))

    def next_ready(self) -> float | None:
        """Return when the next key is ready; None where none waits."""
        return min((key.ready for key in self._keys.values()), default=None)

    def settle(self, name: str) -> None:
        """Take out the first record of a key: it was delivered or set aside."""
        key = self._keys.pop(name)
        done = key.records.popleft()
        self._count -= 1
        self._size -= done.size
        if key.records:
            # Last in line: keys take turns.
            self._keys[name] = _Key(key.records)

    def fail(self, name: str, now: float) -> bool:
        """Put a key's first record off; True where its budget is used up."""
        key = self._keys[name]
        key.held = True
        key.since = now if key.since is None else key.since
        limits = self._limits
        key.ready = now + backoff(key.tries, base=limits.first_wait, cap=limits.longest_wait)
        # The last try is at the end of the budget, not behind it.
        end = key.since + limits.budget
        if key.ready > end > now:
            key.ready = end
        key.tries += 1
        return now >= end

    def wait(self, name: str, until: float) -> None:
        """Put a key off without a charge: its destination takes nothing now."""
        key = self._keys[name]
        key.held = True
        key.ready = until

    def checkpoint(self) -> tuple[str, dict[str, str]]:
        """Return the sequence number up to which all is done, but for the keys named with it.

        What was recovered from the table is in no checkpoint.
        """
        held = dict(self.spilled)
        position = self.position
        for name, key in self._keys.items():
            first = next((each for each in key.records if each.sequence), None)
            if first is None:
                continue
            if key.held or name in self.spilled:
                held[name] = first.before
            elif place_of(first.before) < place_of(position):
                position = first.before
        return position, held

    def _fits(self, name: str) -> bool:
        key = self._keys.get(name)
        return (
            (key is None or len(key.records) < self._limits.of_key)
            # A page may be read while there is room for less of it.
            and self._count < self._limits.records + self._limits.page
        )

    def _append(self, name: str, record: StreamRecord) -> None:
        self._keys.setdefault(name, _Key()).records.append(record)
        self._count += 1
        self._size += record.size
