"""The reading of one shard: fetch, deliver in each key's order, record how far it came.

Runs in a thread of its own under the shard's lease, started by `StreamReader`. It
delivers nothing once it is no longer certain of its lease. A crash delivers again what
was delivered since the last checkpoint; nothing is ever passed over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import structlog

from sealwax.aws.backoff import jittered
from sealwax.aws.clock import AWS_CLOCK
from sealwax.errors import SealwaxError
from sealwax.streams.backlog import Backlog, StreamLimits
from sealwax.streams.checkpoints import RECOVERY, Checkpoints, ShardLease
from sealwax.streams.client import (
    IteratorExpired,
    RecordsTrimmed,
    StreamGone,
    StreamsClient,
    StreamUnreachable,
)
from sealwax.streams.destination import Destination
from sealwax.streams.records import (
    Delivered,
    Failed,
    Outcome,
    Poison,
    StreamRecord,
    Waits,
    place_of,
    read_record,
)
from sealwax.telemetry.counters import Counters

__all__ = ["ShardReader"]

log = structlog.get_logger("sealwax.streams")

#: The reason of a record that nobody can read.
MALFORMED = "malformed"

#: Seconds between looks at whether another reader has searched the table.
_LOOK = 0.5


class _LeaseLost(Exception):
    """Another reader has the shard, or may have it."""


class ShardReader:
    """Reader of one shard.

    Parameters
    ----------
    lease
        The shard's, just taken.
    inherits
        Whether all that was written before this shard is known to be delivered: its
        parent was read to its end.
    stopping
        Set to end the reading; what was read is recorded and the lease given back.
    clock
        Epoch seconds.
    monotonic
        Seconds; measures how long the lease is certainly ours.
    """

    def __init__(
        self,
        streams: StreamsClient,
        checkpoints: Checkpoints,
        destination: Destination,
        lease: ShardLease,
        limits: StreamLimits,
        *,
        inherits: bool,
        stopping: threading.Event,
        counters: Counters | None = None,
        clock: Callable[[], float] = AWS_CLOCK,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._streams = streams
        self._checkpoints = checkpoints
        self._destination = destination
        self._lease = lease
        self._limits = limits
        self._complete = inherits or lease.begun
        self._stopping = stopping
        self._counters = counters or Counters()
        self._clock = clock
        self._monotonic = monotonic
        self._backlog = Backlog(limits, position=lease.position, held=lease.held)
        self._renewed = self._saved = monotonic()
        self._iterator: str | None = None
        #: Of the pass over what was spilled.
        self._again: str | None = None
        self._before = ""
        self._read_at = 0.0
        self._failures = 0
        #: Whether the shard is closed and was read to its end.
        self._ended = False
        self._log = log.bind(shard=lease.shard)

    @property
    def lag(self) -> float:
        """Seconds since the oldest record in memory was written; 0 where there is none."""
        oldest = self._backlog.oldest()
        return 0.0 if oldest is None else max(0.0, self._clock() - oldest)

    @property
    def held(self) -> int:
        """How many keys the checkpoint passes and names."""
        return len(self._backlog.checkpoint()[1])

    def run(self) -> None:
        """Read until the shard has ended, is lost, or `stopping` is set."""
        try:
            if not self._complete:
                self._fill_gap()
            while not self._stopping.is_set():
                if self._turn():
                    self._checkpoints.finish(self._lease)
                    self._log.info("shard finished")
                    return
            self._save()
        except _LeaseLost:
            if not self._stopping.is_set():
                self._counters.add("streams.lost")
                self._log.warning("shard lost")
                return
        except StreamGone:
            # Whoever reads what comes after it finds that it was never finished.
            self._log.warning("shard is gone")
        except SealwaxError as error:
            # Whoever takes the shard next goes on from what was recorded.
            self._counters.add(f"streams.failures.{type(error).__name__}")
            self._log.warning("shard given up", error=type(error).__name__)
        self._give_back()

    def _give_back(self) -> None:
        try:
            self._checkpoints.give_back(self._lease)
        except SealwaxError as error:
            # It ends by itself.
            self._log.warning("shard not given back", error=type(error).__name__)

    def _turn(self) -> bool:
        """Read, deliver and record a bounded piece; True once all of the shard is done."""
        backlog, now = self._backlog, self._monotonic()
        if not self._ended and now >= self._read_at and backlog.room:
            self._read()
        elif backlog.wants_pass():
            self._read_again()
        delivered = self._deliver(backlog)
        if self._ended and backlog.empty:
            self._save()
            return True
        self._keep()
        if not delivered:
            self._rest()
        return False

    def _rest(self) -> None:
        """Wait until something can be done: a read, a key that is ready, a checkpoint."""
        now = self._monotonic()
        ready = self._backlog.next_ready()
        until = min(
            [now + self._limits.checkpoint_every]
            + ([self._read_at] if not self._ended and self._backlog.room else [])
            + ([ready] if ready is not None else [])
            + ([now] if self._backlog.wants_pass() else [])
        )
        self._stopping.wait(max(0.01, until - now))

    def _read(self) -> None:
        """Fetch the next page."""
        try:
            if self._iterator is None:
                self._iterator = self._streams.iterator(
                    self._lease.arn, self._lease.shard, after=self._backlog.position
                )
            page, self._iterator = self._streams.records(self._iterator, self._limits.page)
        except IteratorExpired:
            self._iterator = None
            return
        except RecordsTrimmed:
            self._fill_gap()
            self._backlog = Backlog(self._limits)
            self._iterator = self._again = None
            return
        except StreamUnreachable as error:
            self._put_off(error)
            return
        self._failures = 0
        self._ended = self._iterator is None
        self._read_at = self._monotonic() + (self._limits.busy if page else self._limits.idle)
        self._counters.add("streams.records", len(page))
        for name, record in self._named(page, self._backlog.position):
            if name is None:
                self._backlog.passed(record.sequence)
            else:
                self._backlog.add(name, record)

    def _read_again(self) -> None:
        """Fetch a page of what did not fit into memory when it was first read."""
        backlog = self._backlog
        try:
            if self._again is None:
                self._before = backlog.begin_pass()
                self._again = self._streams.iterator(
                    self._lease.arn, self._lease.shard, after=self._before
                )
            page, self._again = self._streams.records(self._again, self._limits.page)
        except IteratorExpired:
            self._again = None
            return
        except RecordsTrimmed:
            self._fill_gap()
            self._backlog = Backlog(self._limits, position=backlog.position)
            self._again = None
            return
        except StreamUnreachable as error:
            self._put_off(error)
            self._stopping.wait(jittered(self._failures))
            return
        end = place_of(backlog.position)
        for name, record in self._named(page, self._before):
            self._before = record.sequence
            if name is not None and record.place <= end:
                backlog.add_again(name, record)
        if self._again is None or (page and place_of(self._before) >= end):
            backlog.end_pass()
            self._again = None

    def _named(
        self, page: Sequence[dict[str, object]], before: str
    ) -> Iterator[tuple[str | None, StreamRecord]]:
        """Yield a page's records with their keys; None for what is not to be delivered."""
        for raw in page:
            change = raw.get("dynamodb")
            sequence = str(change["SequenceNumber"]) if isinstance(change, dict) else before
            nothing = StreamRecord(keys={}, item={}, created=0.0, sequence=sequence, before=before)
            try:
                record = read_record(raw, shard=self._lease.shard, before=before)
                name = None if record is None else self._destination.key_of(record)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is set aside
                self._log.warning("record malformed", error=type(error).__name__)
                yield f"{MALFORMED}#{sequence}", self._malformed(raw, sequence, before)
            else:
                yield name, record or nothing
            before = sequence

    def _malformed(self, raw: dict[str, object], sequence: str, before: str) -> StreamRecord:
        change = raw.get("dynamodb")
        told = change if isinstance(change, dict) else {}
        keys, item = told.get("Keys"), told.get("NewImage")
        return StreamRecord(
            keys=keys if isinstance(keys, dict) else {},
            item=item if isinstance(item, dict) else {},
            created=self._clock(),
            shard=MALFORMED,
            sequence=sequence,
            before=before,
        )

    def _deliver(self, backlog: Backlog) -> bool:
        """Deliver what is ready; False where nothing is."""
        batch = backlog.batch(self._monotonic())
        if not batch:
            return False
        sound = [(name, record) for name, record in batch if record.shard != MALFORMED]
        for name, record in batch:
            if record.shard == MALFORMED:
                self._set_aside(backlog, name, record, MALFORMED)
        if sound:
            self._certain()
            for (name, record), outcome in zip(
                sound, self._outcomes([record for _, record in sound]), strict=True
            ):
                self._settle(backlog, name, record, outcome)
        return True

    def _outcomes(self, records: list[StreamRecord]) -> Iterator[Outcome]:
        try:
            outcomes = self._destination.deliver(records)
            if len(outcomes) != len(records):
                raise ValueError("a destination answers for each record")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 - whatever fails, it is a failed delivery
            if len(records) == 1:
                yield Failed(type(error).__name__)
                return
            self._log.warning("batch failed, each tried alone", error=type(error).__name__)
            for record in records:
                self._certain()
                yield from self._outcomes([record])
        else:
            yield from outcomes

    def _settle(self, backlog: Backlog, name: str, record: StreamRecord, outcome: Outcome) -> None:
        now = self._monotonic()
        match outcome:
            case Delivered():
                backlog.settle(name)
                self._counters.add("streams.delivered")
            case Waits(seconds):
                backlog.wait(name, now + max(seconds, self._limits.first_wait))
            case Poison(reason):
                self._set_aside(backlog, name, record, reason)
            case Failed(reason):
                self._counters.add("streams.refused")
                if backlog.fail(name, now):
                    self._set_aside(backlog, name, record, reason)

    def _set_aside(self, backlog: Backlog, name: str, record: StreamRecord, reason: str) -> None:
        try:
            self._destination.set_aside(record, reason)
        except Exception as error:  # noqa: BLE001 - it stays held until it can be kept
            self._log.warning("not set aside", error=type(error).__name__)
            backlog.wait(name, self._monotonic() + self._limits.longest_wait)
        else:
            self._counters.add("streams.set_aside")
            self._log.warning("set aside", sequence=record.sequence, reason=reason)
            backlog.settle(name)

    def _fill_gap(self) -> None:
        """Have the table searched for what the stream has forgotten, by us or by another.

        The shard is read no further meanwhile: what was forgotten comes first.
        """
        noticed = self._clock()
        self._counters.add("streams.gaps")
        self._log.warning("the stream may have forgotten records; the table is searched")
        while not self._stopping.is_set():
            if self._checkpoints.searched(self._lease.arn) >= noticed:
                return
            search = self._checkpoints.take(self._lease.arn, RECOVERY)
            if search is not None:
                self._search(search)
                return
            self._stopping.wait(_LOOK)
            self._keep(save=False)
        raise _LeaseLost

    def _search(self, search: ShardLease) -> None:
        began, renewed = self._clock(), self._monotonic()
        backlog = Backlog(self._limits)
        found = iter(self._destination.recover())
        more = True
        while more or not backlog.empty:
            if self._stopping.is_set():
                self._checkpoints.give_back(search)
                raise _LeaseLost
            if more and backlog.room_again:
                page = list(islice(found, self._limits.page))
                more = bool(page)
                for record in page:
                    name = self._destination.key_of(record)
                    if name is not None:
                        backlog.add_recovered(name, record)
                        self._counters.add("streams.recovered")
            if not self._deliver(backlog) and not more:
                self._stopping.wait(self._limits.busy)
            self._keep(save=False)
            if self._monotonic() - renewed > self._limits.lease / 3:
                kept = self._checkpoints.renew(search)
                if kept is None:
                    raise _LeaseLost
                renewed = self._monotonic()
        self._checkpoints.recovered(search, began)

    def _certain(self) -> None:
        """Renew the lease where due; raise where it may be another's."""
        self._keep(save=False)
        if self._monotonic() - self._renewed >= self._limits.lease:
            raise _LeaseLost

    def _keep(self, *, save: bool = True) -> None:
        """Record the position and renew the lease, each where it is due."""
        now = self._monotonic()
        if save and now - self._saved >= self._limits.checkpoint_every:
            self._save()
        elif now - self._renewed >= self._limits.lease / 3:
            self._take(lambda: self._checkpoints.renew(self._lease))

    def _save(self) -> None:
        position, held = self._backlog.checkpoint()
        if (position, held) == (self._lease.position, self._lease.held) and self._lease.begun:
            self._saved = self._monotonic()
            if self._saved - self._renewed < self._limits.lease / 3:
                return
        self._take(lambda: self._checkpoints.save(self._lease, position, held))
        self._saved = self._monotonic()

    def _take(self, write: Callable[[], ShardLease | None]) -> None:
        asked = self._monotonic()
        try:
            lease = write()
        except SealwaxError as error:
            # Ours until it ends, recorded or not.
            self._log.warning("not recorded", error=type(error).__name__)
            if asked - self._renewed >= self._limits.lease:
                raise _LeaseLost from None
            return
        if lease is None:
            raise _LeaseLost
        self._lease, self._renewed = lease, asked

    def _put_off(self, error: StreamUnreachable) -> None:
        self._failures += 1
        self._counters.add(f"streams.unreachable.{type(error).__name__}")
        self._read_at = self._monotonic() + max(self._limits.busy, jittered(self._failures))
