"""The reading of a table's Stream: its shards divided among all readers, each in a thread.

Any number of processes may run one `StreamReader` each for the same table and control
table: they share the shards, and take over from one that is gone within a lease's
length. Usable without anything else of Sealwax but a control table.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from sealwax.aws.backoff import jittered
from sealwax.aws.clock import AWS_CLOCK
from sealwax.errors import SealwaxError
from sealwax.streams.backlog import StreamLimits
from sealwax.streams.checkpoints import Checkpoints
from sealwax.streams.client import StreamsClient
from sealwax.streams.destination import Destination
from sealwax.streams.shard_reader import ShardReader
from sealwax.streams.shards import Shard, readable
from sealwax.telemetry.counters import Counters

__all__ = ["ShardStatus", "StreamReader"]

log = structlog.get_logger("sealwax.streams")

#: Lease's lengths for which a shard beyond our share is left to others.
LONG_FREE = 3


@dataclass(frozen=True)
class ShardStatus:
    """How the reading of one of our shards stands.

    Parameters
    ----------
    lag
        Seconds since the oldest undelivered record in memory was written.
    held
        Keys that the checkpoint passes and names.
    """

    shard: str
    lag: float
    held: int


@dataclass
class _Reading:
    reader: ShardReader
    thread: threading.Thread
    stopping: threading.Event


class StreamReader:
    """Reader of one table's Stream.

    Parameters
    ----------
    table
        Whose newest stream is read; one that is switched off and on is another.
    destination
        Where records go.
    """

    def __init__(
        self,
        streams: StreamsClient,
        table: str,
        checkpoints: Checkpoints,
        destination: Destination,
        limits: StreamLimits | None = None,
        *,
        clock: Callable[[], float] = AWS_CLOCK,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = Counters()
        self._streams = streams
        self._table = table
        self._checkpoints = checkpoints
        self._destination = destination
        self._limits = limits or StreamLimits.model_validate({})
        self._clock = clock
        self._monotonic = monotonic
        self._arn: str | None = None
        self._shards: list[Shard] = []
        self._described: float | None = None
        self._readings: dict[str, _Reading] = {}
        #: When we first saw a shard that was ours to leave to others.
        self._free_since: dict[str, float] = {}
        self._stopping = threading.Event()

    def status(self) -> list[ShardStatus]:
        """Return how our shards stand."""
        return [
            ShardStatus(shard, each.reader.lag, each.reader.held)
            for shard, each in list(self._readings.items())
        ]

    def stop(self) -> None:
        """Have `run` record what was done, give the shards back, and return."""
        self._stopping.set()

    def run(self) -> None:
        """Read until `stop` is called; whatever fails is tried again."""
        failures = 0
        while not self._stopping.is_set():
            try:
                self._look()
                failures = 0
                pause = self._limits.lease / 3
            except SealwaxError as error:
                failures += 1
                self.counters.add(f"streams.failures.{type(error).__name__}")
                log.warning("stream not looked at", error=type(error).__name__)
                pause = jittered(failures)
            end = self._monotonic() + pause
            while self._monotonic() < end and not self._stopping.wait(0.05):
                if self._reap():
                    break  # its children, or another's shard, may be read now
        for each in self._readings.values():
            each.stopping.set()
        for each in self._readings.values():
            each.thread.join(self._limits.lease * 2)
        try:
            self._checkpoints.leave()
        except SealwaxError as error:
            log.warning("not left", error=type(error).__name__)

    def _reap(self) -> bool:
        """Forget the shards whose reading has ended; True where there were some."""
        ended = [shard for shard, each in self._readings.items() if not each.thread.is_alive()]
        for shard in ended:
            del self._readings[shard]
            self._described = None
        return bool(ended)

    def _look(self) -> None:
        """Take free shards up to our share, and give up what is beyond it."""
        self._reap()
        readers = self._checkpoints.announce()
        now = self._monotonic()
        if self._described is None or now - self._described >= self._limits.describe_every:
            self._describe()
        if self._arn is None:
            return
        recorded = self._checkpoints.all(self._arn)
        finished = {shard for shard, item in recorded.items() if "finished" in item}
        open_now = readable(self._shards, finished)
        share = -(-len(open_now) // readers)
        ours = [name for name, each in self._readings.items() if not each.stopping.is_set()]
        for name in ours[share:]:
            self._readings[name].stopping.set()
        free = [shard for shard in open_now if shard.id not in self._readings]
        room = max(0, share - len(ours))
        for shard in free[:room]:
            self._begin(self._arn, shard, inherits=shard.parent in finished)
        # Whose share the others are may be gone: what stays free for long is taken all the same.
        for shard in free[room:]:
            since = self._free_since.setdefault(shard.id, now)
            if now - since > LONG_FREE * self._limits.lease:
                self._free_since[shard.id] = now
                self._begin(self._arn, shard, inherits=shard.parent in finished)
        waiting = {shard.id for shard in free}
        self._free_since = {
            shard: since for shard, since in self._free_since.items() if shard in waiting
        }

    def _describe(self) -> None:
        arn = self._streams.latest_arn(self._table)
        if arn != self._arn:
            log.info("stream found", arn=arn)
            for each in self._readings.values():
                each.stopping.set()
        self._arn = arn
        self._shards = [] if arn is None else self._streams.shards(arn)
        self._described = self._monotonic()

    def _begin(self, arn: str, shard: Shard, *, inherits: bool) -> None:
        lease = self._checkpoints.take(arn, shard.id)
        if lease is None:
            return
        stopping = threading.Event()
        reader = ShardReader(
            self._streams,
            self._checkpoints,
            self._destination,
            lease,
            self._limits,
            inherits=inherits,
            stopping=stopping,
            counters=self.counters,
            clock=self._clock,
            monotonic=self._monotonic,
        )
        thread = threading.Thread(target=reader.run, name=f"sealwax-{shard.id}", daemon=True)
        self._readings[shard.id] = _Reading(reader, thread, stopping)
        self._free_since.pop(shard.id, None)
        self.counters.add("streams.taken")
        thread.start()
