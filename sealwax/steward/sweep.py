"""The sweep: open jobs that nobody moves, and whether their message is kept anywhere.

Called by `sealwax jobs verify` and as a duty. It reads the ledger, the outbox
and the archive; SQS cannot be asked what it holds. What has a body can be sent
again, since the ledger absorbs a double; for the rest it says what it knows,
and never guesses. A kept body counts only where it is verified to be the job's
own: whatever else bears the job's id hides nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import structlog

from sealwax.aws.clock import AWS_CLOCK
from sealwax.deadletters.errors import NoSuchLetter
from sealwax.deadletters.letter import Letter, LetterText
from sealwax.deadletters.resend import LetterResender
from sealwax.deadletters.service import Letters
from sealwax.keys.provenance import Evidence, is_own
from sealwax.ledger import JobState, Ledger, LedgerEntry
from sealwax.ledger.entry import open_watch
from sealwax.outbox.store import Outbox
from sealwax.settings import Settings
from sealwax.steward.duty import Leader

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

__all__ = ["Finding", "Sweep", "SweepDuty", "idle_since"]

log = structlog.get_logger("sealwax.steward")

#: Jobs read in one call.
PAGE = 100

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
    where: Literal["outbox", "letter", "unaccounted"]
    resent: bool = False
    strays: tuple[str, ...] = ()


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

    def outboxed(self) -> Outboxed:
        """Return the names of the outbox's items by the job whose id they bear."""
        found: dict[str, list[str]] = {}
        for item_id, _ in self._outbox.names():
            found.setdefault(item_id.partition("#")[0], []).append(item_id)
        return found

    def page(
        self, lane: str, after: str | None, outboxed: Outboxed, *, repair: bool
    ) -> tuple[list[Finding], str | None]:
        """Return what stands still in a page of a lane's open jobs, and where to go on."""
        now = self._clock()
        # A job stands still since its acceptance at the earliest: younger ones are not read.
        page = self._ledger.watching(
            open_watch(lane), after=after, limit=PAGE, until=now - self._after
        )
        found = [
            self._finding(entry, now, outboxed, repair=repair)
            for entry in page.entries
            if now - idle_since(entry) > self._after
        ]
        return [each for each in found if each is not None], page.after

    def all(self, *, repair: bool = False) -> Iterator[Finding]:
        """Yield everything that stands still."""
        outboxed = self.outboxed()
        for lane in self._settings.lanes:
            after: str | None = None
            while True:
                found, after = self.page(lane, after, outboxed, repair=repair)
                yield from found
                if after is None:
                    break

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


class SweepDuty:
    """The sweep as a duty: repairs what it can, and names the rest in the log."""

    name = "sweep"

    def __init__(
        self,
        sweep: Sweep,
        lanes: list[str],
        *,
        every: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.every = every
        self._sweep = sweep
        self._lanes = lanes
        self._monotonic = monotonic
        self._rest: list[tuple[str, str | None]] = []
        self._outboxed: Outboxed = {}
        self._counts: Counter[str] = Counter()

    def turn(self, lead: Leader) -> bool:
        """Go on with the sweep, or begin one."""
        end = self._monotonic() + TURN
        if not self._rest:
            self._rest = [(lane, None) for lane in self._lanes]
            self._counts = Counter()
            self._outboxed = self._sweep.outboxed()
        while self._rest and self._monotonic() < end:
            if not lead.held():
                self._rest = []
                return False
            lane, after = self._rest[0]
            found, after = self._sweep.page(lane, after, self._outboxed, repair=True)
            for each in found:
                self._note(each)
            self._rest[:1] = [(lane, after)] if after is not None else []
        if self._rest:
            return True
        log.info("sweep done", **{name: self._counts[name] for name in sorted(self._counts)})
        return False

    def _note(self, found: Finding) -> None:
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
