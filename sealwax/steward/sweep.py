"""The sweep: open jobs that nobody moves, and whether their message is kept anywhere.

Called by `sealwax jobs verify` and as a duty. It reads the ledger, the outbox
and the archive; SQS cannot be asked what it holds. What has a body can be sent
again, since the ledger absorbs a double; for the rest it says what it knows,
and never guesses. A kept body counts only where it is verified to be the job's
own: whatever else bears the job's id hides nothing.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from sealwax.aws.clock import AWS_CLOCK
from sealwax.deadletters.errors import NoSuchLetter
from sealwax.deadletters.letter import Letter, LetterText
from sealwax.deadletters.resend import LetterResender
from sealwax.deadletters.service import Letters
from sealwax.keys.provenance import Evidence, is_own
from sealwax.ledger import JobState, Ledger, LedgerEntry
from sealwax.outbox.store import Outbox
from sealwax.settings import Settings
from sealwax.steward.duty import Leader
from sealwax.steward.sweep_notes import LONGEST, Note, Stretch, SweepNotes, Where, aligned

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

__all__ = ["PARTS", "Finding", "Look", "Sweep", "SweepDuty", "idle_since"]

_T = TypeVar("_T")

log = structlog.get_logger("sealwax.steward")

#: Jobs read in one call.
#: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
PAGE = 100

#: Parts of the duty, which stewards do side by side, each with its share of the
#: ledger's shards. A part renews a lease all day long, so that there are few.
PARTS = 4

#: Seconds after which a duty's turn ends, whatever is left.
TURN = 4.0

#: Ids of the outbox's items by the job whose id they bear.
Outboxed = Mapping[str, Sequence[str]]

#: Items of one job's name that are looked into.
LOOKED_INTO = 20

#: Unaccounted jobs that one sweep names in the log; the rest is counted.
NAMED = 20


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A job that stands still.

    Parameters
    ----------
    age
        Seconds since anything should have happened to it.
    where
        Who has its message: the `outbox`, a dead `letter`, or nobody that can be
        asked (`unaccounted`: SQS may have it, or it is lost).
    resent
        Whether its letter was sent again.
    strays
        Ids of letters that bear the job's id and are not its own: where nobody has
        its message, one of them may be what became of it. A person decides.
    """

    job: str
    lane: str
    task: str
    state: JobState
    age: float
    where: Where
    resent: bool = False
    strays: tuple[str, ...] = ()


@dataclass(frozen=True)
class Look:
    """A step of a sweep: what was found now, and by `where` what stood still before and may still.

    `known` is of jobs whose next look is to come, counted and not read.
    """

    found: Sequence[Finding]
    known: Mapping[Where, int]


def idle_since(entry: LedgerEntry) -> float:
    """Return the moment (epoch seconds) from which a job should have moved. Pure."""
    return max(entry.updated, entry.since, entry.due or 0.0, entry.lease_until)


class Sweep:
    """Looks through the open jobs of all lanes.

    Parameters
    ----------
    sqs
        A boto3 SQS client with time-outs.
    evidence
        Public keys and stored payloads: whose a body is.
    fair_group
        See `LetterResender`.
    after
        Seconds that a job may stand still.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        outbox: Outbox,
        letters: Letters,
        sqs: SQSClient,
        *,
        evidence: Evidence,
        fair_group: Callable[[str], str],
        after: float | None = None,
        clock: Callable[[], float] = AWS_CLOCK,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._outbox = outbox
        self._letters = letters
        self._evidence = evidence
        self._sending = LetterResender(settings, sqs, fair_group=fair_group)
        self._after = settings.steward.sweep_after if after is None else after
        self._clock = clock
        #: When each job was sent again: not twice while its message may still wait.
        self._resent: dict[str, float] = {}

    @property
    def shards(self) -> int:
        """How many shards of the ledger each lane has."""
        return self._ledger.shards_read

    def all(self, *, repair: bool = False) -> Iterator[Finding]:
        """Yield everything that stands still; every job that is old enough is read."""
        outboxed = self.outbox_names()
        for lane in self._settings.lanes:
            for shard in range(self.shards):
                for jobs in _hundreds(self._old(lane, shard)):
                    now = self._clock()
                    for entry in self._entries([job for _, job in jobs]).values():
                        found = self._stands(entry, now, outboxed, repair=repair)
                        if found is not None:
                            yield found

    def shard(
        self,
        lane: str,
        shard: int,
        notes: SweepNotes,
        outboxed: Callable[[], Outboxed],
        *,
        every: float,
        repair: bool,
    ) -> Iterator[Look]:
        """Look at those jobs of a lane's shard whose time has come; each step is a few calls.

        A job that moves is looked at next when it would have stood still for long
        enough, so that it is found then, or a pass later. One that stands still is
        looked at after `every` seconds, twice as many, and so on up to `after`.
        """
        yield Look((), {})
        for stretch in aligned(notes.stretches(lane, shard), self._old(lane, shard)):
            now = self._clock()
            known = {job: stretch.notes[job] for job in stretch.open if job in stretch.notes}
            kept = {job: note for job, note in known.items() if note.waits(now)}
            yield Look((), Counter(note.where for note in kept.values() if note.where))
            due = [job for job in stretch.open if job not in kept]
            for jobs in _hundreds(due):
                now, entries, found = self._clock(), self._entries(jobs), []
                for job, entry in entries.items():
                    each = self._stands(entry, now, outboxed, repair=repair)
                    kept[job] = self._note(entry, each, known.get(job), now, every)
                    found += [each] if each is not None else []
                yield Look(found, {})
            if due or _stale(stretch, kept):
                notes.keep(lane, shard, stretch, kept)

    def outbox_names(self) -> Callable[[], Outboxed]:
        """Return who says the names of the outbox's items by the job whose id they bear.

        They are read when the first job stands still, and not again.
        """
        return cache(self._outboxed)

    def _outboxed(self) -> Outboxed:
        found: dict[str, list[str]] = {}
        for item_id, _ in self._outbox.names():
            found.setdefault(item_id.partition("#")[0], []).append(item_id)
        return found

    def _old(self, lane: str, shard: int) -> Iterator[tuple[float, str]]:
        # A job stands still since its acceptance at the earliest: younger ones are not read.
        until = self._clock() - self._after
        return itertools.chain.from_iterable(self._ledger.open_keys(lane, shard, until=until))

    def _entries(self, jobs: list[str]) -> dict[str, LedgerEntry]:
        """Return the entries of jobs that have not ended: the index may be behind."""
        found = self._ledger.many(jobs)
        return {job: entry for job, entry in found.items() if not entry.final}

    def _note(
        self,
        entry: LedgerEntry,
        found: Finding | None,
        before: Note | None,
        now: float,
        every: float,
    ) -> Note:
        if found is None:
            # The first whole second at which it is more than `after` ago.
            look = math.floor(max(now, idle_since(entry) + self._after)) + 1
            return Note(math.floor(min(look, now + LONGEST)))
        still = before.still if before is not None else 0
        wait = min(every * 2.0 ** min(still, 32), max(every, self._after))
        return Note(math.floor(now + min(wait, LONGEST)), still + 1, found.where)

    def _stands(
        self, entry: LedgerEntry, now: float, outboxed: Callable[[], Outboxed], *, repair: bool
    ) -> Finding | None:
        if now - idle_since(entry) <= self._after:
            return None
        return self._finding(entry, now, outboxed(), repair=repair)

    def _finding(
        self, entry: LedgerEntry, now: float, outboxed: Outboxed, *, repair: bool
    ) -> Finding | None:
        facts: dict[str, Any] = {
            "job": entry.id,
            "lane": entry.lane,
            "task": entry.task,
            "state": entry.state,
            "age": now - idle_since(entry),
        }
        if self._in_outbox(entry, outboxed.get(entry.id, ())):
            return Finding(**facts, where="outbox")
        kept = self._letter(entry)
        if kept is None:
            # The index may be behind: what has moved meanwhile is no finding.
            current = self._ledger.get(entry.id)
            if current is None or current.final or current.updated != entry.updated:
                return None
            strays = self._letters.archive.claiming(entry.id)
            return Finding(
                **facts, where="unaccounted", strays=tuple(letter.id for letter in strays)
            )
        return Finding(**facts, where="letter", resent=repair and self._resend(*kept, entry))

    def _is_own(self, body: bytes | str, entry: LedgerEntry, queue: str) -> bool:
        return is_own(self._evidence, body, entry, queue=queue, settings=self._settings)

    def _in_outbox(self, entry: LedgerEntry, names: Sequence[str]) -> bool:
        items = (self._outbox.get(name) for name in names[:LOOKED_INTO])
        return any(
            # What is sent elsewhere, or nowhere, never reaches the job's workers.
            item.queue == self._settings.queue_name(entry.lane)
            and self._is_own(item.body, entry, item.queue)
            for item in items
            if item is not None
        )

    def _letter(self, entry: LedgerEntry) -> tuple[Letter, LetterText] | None:
        """Return the newest letter of the job's own place whose body is the job's own."""
        for letter in reversed(self._letters.archive.of_job(entry.id)):
            if not letter.own or not self._sending.serves(letter.queue):
                continue
            try:
                text = self._letters.archive.body(letter.id)
            except NoSuchLetter:
                continue
            if self._is_own(text.body, entry, letter.queue):
                return letter, text
        return None

    def _resend(self, letter: Letter, text: LetterText, entry: LedgerEntry) -> bool:
        now = self._clock()
        self._resent = {job: at for job, at in self._resent.items() if now - at < self._after}
        if entry.id in self._resent:
            return False
        message = self._sending.message(letter, text, entry)
        if message is None:
            return False
        self._sending.send([message])
        self._resent[entry.id] = now
        return True


def _hundreds(whole: Iterable[_T]) -> Iterator[list[_T]]:
    """Yield lists of `PAGE`, the last one shorter."""
    each = iter(whole)
    while part := list(itertools.islice(each, PAGE)):
        yield part


def _stale(stretch: Stretch, kept: Mapping[str, Note]) -> bool:
    """Whether notes are worth writing although no job was looked at."""
    # What has ended stays in an item until half of it has, rather than be written each time.
    return len(stretch.stored) > 1 or len(stretch.notes) > 2 * len(kept)


class SweepDuty:
    """A part of the sweep as a duty: repairs what it can, and names the rest in the log."""

    def __init__(
        self,
        sweep: Sweep,
        lanes: Iterable[str],
        notes: SweepNotes,
        *,
        every: float,
        part: int = 0,
        parts: int = 1,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = f"sweep.{part}"
        self.every = every
        self._sweep = sweep
        self._notes = notes
        shards = range(part, sweep.shards, parts)
        self._places = [(lane, shard) for lane in lanes for shard in shards]
        self._monotonic = monotonic
        self._looks: Iterator[Look] | None = None
        self._counts: Counter[str] = Counter()

    def turn(self, lead: Leader) -> bool:
        """Go on with the sweep, or begin one."""
        end = self._monotonic() + TURN
        if self._looks is None:
            self._looks, self._counts = self._pass(), Counter()
        looks, self._looks = self._looks, None
        while lead.held():
            look = next(looks, None)
            if look is None:
                counts = {name: self._counts[name] for name in sorted(self._counts)}
                log.info("sweep done", part=self.name, **counts)
                return False
            self._counts.update(look.known)
            for each in look.found:
                self._tell(each)
            if self._monotonic() >= end:
                self._looks = looks
                return True
        return False

    def _pass(self) -> Iterator[Look]:
        outboxed = self._sweep.outbox_names()
        failed: list[Exception] = []
        for lane, shard in self._places:
            looks = self._sweep.shard(
                lane, shard, self._notes, outboxed, every=self.every, repair=True
            )
            try:
                yield from looks
            except Exception as error:  # noqa: BLE001 - the other lanes' jobs are looked at
                log.warning("sweep failed", lane=lane, shard=shard, error=type(error).__name__)
                failed.append(error)
        if failed:
            raise failed[0]

    def _tell(self, found: Finding) -> None:
        self._counts[found.where] += 1
        if found.resent:
            self._counts["resent"] += 1
            log.warning("job sent again", job=found.job, task=found.task, lane=found.lane)
        if found.where == "unaccounted" and self._counts["unaccounted"] <= NAMED:
            log.error(
                "job unaccounted",
                job=found.job,
                task=found.task,
                lane=found.lane,
                state=found.state.value,
                age=round(found.age),
                strays=list(found.strays),
            )
