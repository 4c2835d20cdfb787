"""The duty that carries out replays and discards.

A letter is sent in this order: its body is verified to be the job's own, the
ledger accepts the job as a new generation, the message is sent, and then letter,
group and replay are changed in one transaction. What cannot be verified is not
sent: a new generation would make the job's genuine message an old one. Killed
anywhere in between, the next steward repeats the batch: the ledger knows the
generation, and what was sent twice runs once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from sealwax.aws.clock import AWS_CLOCK
from sealwax.aws.dynamodb import TransactionCancelled, typed
from sealwax.aws.sqs import OutgoingMessage
from sealwax.deadletters.bodies import body_key
from sealwax.deadletters.discard import LetterDiscarder
from sealwax.deadletters.errors import NoSuchReplay
from sealwax.deadletters.letter import Letter, LetterText
from sealwax.deadletters.replays import Replay, ReplayState, change_state
from sealwax.deadletters.resend import LetterResender
from sealwax.deadletters.selecting import LetterSelector
from sealwax.deadletters.service import Letters
from sealwax.deadletters.table import key
from sealwax.deadletters.transitions import MOVE_BATCH, SENT_BATCH, LetterTransitions
from sealwax.keys.provenance import Evidence, is_own
from sealwax.ledger import JobState, Ledger, LedgerEntry
from sealwax.outbox.payloads import PayloadStore
from sealwax.settings import Settings
from sealwax.steward.duty import Leader

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

__all__ = ["ReplayEngine"]

log = structlog.get_logger("sealwax.steward")

#: Seconds that one turn lasts at most, all replays together.
TURN = 3.0

#: Letters sent whose outcome is open, at most: a replay never buries the
#: queue's new jobs, and stops itself before everything has been sent.
WINDOW = 5_000

#: Outcomes asked for at once, and letters waiting that one query lists.
SETTLE, SETTLE_LISTED = 100, 500

#: Outcomes asked for in one turn at most, and how often in a row in vain before
#: the turn goes on to send.
SETTLE_PAGES, SETTLE_IN_VAIN = 10, 2

#: Calls to the ledger under way at once.
SIDE_BY_SIDE = 8

_OUTCOMES = {
    JobState.SUCCEEDED: "succeeded",
    JobState.DEAD: "died",
    JobState.CANCELLED: "cancelled",
    JobState.EXPIRED: "expired",
    JobState.ABANDONED: "cancelled",
}


@dataclass
class _Pace:
    """Letters that may be sent now, under a rate limit; at most a second's worth."""

    at: float
    letters: float = 1.0

    def allowed(self, rate: float, now: float) -> int:
        self.letters = min(max(1.0, rate), self.letters + (now - self.at) * rate)
        self.at = now
        return int(self.letters)


class ReplayEngine:
    """Carries out replays; see `sealwax.steward.duty.Duty`.

    Parameters
    ----------
    sqs
        A boto3 SQS client with time-outs.
    payloads
        Returns access to the claim checks.
    evidence
        Public keys and stored payloads: whose a body is.
    fair_group
        See `LetterResender`.
    """

    name = "letters-replay"
    every = 1.0

    def __init__(
        self,
        settings: Settings,
        sqs: SQSClient,
        letters: Letters,
        ledger: Ledger,
        payloads: Callable[[], PayloadStore],
        *,
        evidence: Evidence,
        fair_group: Callable[[str], str],
        clock: Callable[[], float] = AWS_CLOCK,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._letters = letters
        self._ledger = ledger
        self._evidence = evidence
        self._sending = LetterResender(settings, sqs, fair_group=fair_group, sleep=sleep)
        self._moves = LetterTransitions(
            letters.table, keep=settings.limits.letter_retention_seconds
        )
        self._choosing = LetterSelector(letters.table, letters.archive, letters.groups)
        self._discarding = LetterDiscarder(
            letters.table, letters.bodies, ledger, payloads, self._is_own
        )
        self._step_seconds = settings.steward.step_seconds
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._paces: dict[str, _Pace] = {}
        self._settling: dict[str, dict[str, Any] | None] = {}

    def turn(self, lead: Leader) -> bool:
        """Bring every replay on for some seconds; True where one may go on at once."""
        active = self._letters.replays.active()
        more = False
        for replay_id in active:
            if not lead.held():
                return False
            end = self._monotonic() + TURN / len(active)
            more = self._advance(replay_id, lead, end) or more
        return more

    def _advance(self, replay_id: str, lead: Leader, end: float) -> bool:
        try:
            replay = self._letters.replays.get(replay_id)
        except NoSuchReplay:
            self._letters.table.delete("active", replay_id)
            return False
        more = False
        with ThreadPoolExecutor(SIDE_BY_SIDE, "sealwax-replay") as pool:
            if replay.verb == "replay":
                replay = self._settle(replay, lead, end)
            while replay.state is ReplayState.RUNNING and not replay.listed:
                if not lead.held():
                    return False
                if self._stops(replay):
                    return False
                more = self._step(replay, pool, lead, end)
                replay = self._letters.replays.get(replay_id)
                if not more or self._monotonic() >= end:
                    break
        self._end(replay)
        return more

    # -- sending -------------------------------------------------------------------

    def _step(self, replay: Replay, pool: ThreadPoolExecutor, lead: Leader, end: float) -> bool:
        """Send one batch; False where it has to wait."""
        most = MOVE_BATCH if replay.verb == "discard" else SENT_BATCH
        limit = min(most, WINDOW - replay.waiting)
        if replay.allowance is not None:
            limit = min(limit, replay.allowance)
        if limit <= 0:
            return False
        pace = self._paces.setdefault(replay.id, _Pace(self._monotonic()))
        allowed = pace.allowed(replay.rate, self._monotonic())
        if allowed < 1:
            # The next letter's time, unless that is for the next turn.
            pause = (1 - pace.letters) / replay.rate
            if self._monotonic() + pause < end:
                self._sleep(pause)
                return True
            return False
        chosen = self._choosing.next(replay, replay.cursor, min(limit, allowed))
        if replay.verb == "discard":
            done = self._discard(replay, chosen.letters, chosen.cursor, lead)
        else:
            done = self._replay(replay, chosen.letters, chosen.cursor, pool, lead)
        pace.letters -= done
        if chosen.ended:
            self._letters.table.update(
                {
                    "Update": {
                        "Key": key("replays", replay.id),
                        "UpdateExpression": "SET listed = :yes",
                        "ExpressionAttributeValues": typed({":yes": True}),
                    }
                }
            )
        return True

    def _replay(
        self,
        replay: Replay,
        letters: list[Letter],
        cursor: str,
        pool: ThreadPoolExecutor,
        lead: Leader,
    ) -> int:
        known = self._ledger.many([letter.job for letter in letters if letter.job])
        bodies = self._letters.table.batch_find([body_key(letter) for letter in letters])
        entries = [known.get(letter.job or "") for letter in letters]
        texts = list(pool.map(self._own, letters, bodies, entries))
        accepted = list(pool.map(self._accept, letters, entries, texts))
        outgoing: list[OutgoingMessage] = []
        sent: dict[Letter, int] = {}
        for letter, text, entry in zip(letters, texts, accepted, strict=True):
            if entry is None or text is None:
                continue
            if entry.state is not JobState.ACCEPTED:
                # By a steward that was killed before it could say so.
                sent[letter] = entry.generation
                continue
            message = self._sending.message(letter, text, entry)
            if message:
                outgoing.append(message)
                sent[letter] = entry.generation
        if not lead.held():
            return 0
        self._sending.send(outgoing)
        skipped = len(letters) - len(sent)
        self._moves.sent(replay.id, sent, now=self._clock(), skipped=skipped, cursor=cursor)
        return len(sent)

    def _own(
        self, letter: Letter, item: dict[str, Any] | None, entry: LedgerEntry | None
    ) -> LetterText | None:
        """Return a letter's text; None where it is not its job's own message, or is gone.

        Raises
        ------
        sealwax.outbox.payloads.PayloadStoreUnreachable
            Nobody knows yet.
        """
        if letter.stray or item is None or entry is None or not self._sending.serves(letter.queue):
            return None
        text = self._letters.bodies.text(item)
        if text is None:
            return None
        return text if self._is_own(text.body, entry, letter.queue) else None

    def _is_own(self, body: bytes, entry: LedgerEntry, queue: str) -> bool:
        return is_own(self._evidence, body, entry, queue=queue, settings=self._settings)

    def _accept(
        self, letter: Letter, known: LedgerEntry | None, text: LetterText | None
    ) -> LedgerEntry | None:
        """Have the ledger accept the job again; None where the letter cannot be replayed.

        A job that was replayed by another letter meanwhile, and is dead again, is
        accepted anew by the job's own letter. Where it is not dead, it has moved
        on, and nothing is sent.
        """
        if letter.job is None or known is None or text is None:
            return None
        behind = known.state is JobState.DEAD and known.generation > letter.generation
        generation = known.generation if behind and letter.own else letter.generation
        entry = self._ledger.replay(letter.job, generation=generation, known=known)
        if entry is not None:
            return entry
        entry = self._ledger.get(letter.job)
        if entry is None or entry.generation != letter.generation + 1 or not letter.own:
            return None
        return None if entry.state is JobState.DEAD else entry

    def _discard(self, replay: Replay, letters: list[Letter], cursor: str, lead: Leader) -> int:
        if not lead.held():
            return 0
        entries = self._discarding.resolve(letters)
        count = self._moves.discarded(
            replay.id, letters, now=self._clock(), note=replay.reason or "", cursor=cursor
        )
        self._discarding.clear(letters, entries)
        return count

    # -- outcomes ------------------------------------------------------------------

    def _settle(self, replay: Replay, lead: Leader, end: float) -> Replay:
        """Ask the ledger how the letters sent have ended; return the replay after it."""
        if not replay.waiting:
            return replay
        after = self._settling.get(replay.id)
        ahead: list[dict[str, Any]] = []
        vain = 0
        for _ in range(SETTLE_PAGES):
            if not ahead:
                name = f"wait#{replay.id}"
                ahead = self._letters.table.listed(name, after=after, limit=SETTLE_LISTED).items
            page, ahead = ahead[:SETTLE], ahead[SETTLE:]
            by_outcome = self._outcomes(page)
            if not lead.held():
                break
            self._record(replay, by_outcome)
            # The next turn goes on behind those that take long.
            after = page[-1] if len(page) == SETTLE else None
            vain = 0 if by_outcome else vain + 1
            if after is None or vain == SETTLE_IN_VAIN or self._monotonic() >= end:
                break
        self._settling[replay.id] = after
        return self._letters.replays.get(replay.id)

    def _outcomes(self, keys: list[dict[str, Any]]) -> dict[str, list[Letter]]:
        """Return those letters whose replay has ended, by how it has."""
        # What is sent has a job, and a job's letters have its id.
        entries = self._ledger.many([each["id"] for each in keys])
        keys = [each for each in keys if _may_have_ended(each, entries.get(each["id"]))]
        items = self._letters.table.batch_get([key(each["id"], each["sort"]) for each in keys])
        by_outcome: dict[str, list[Letter]] = {}
        for letter in map(Letter.from_item, items):
            outcome = _outcome(letter, entries.get(letter.job or ""))
            if outcome is not None:
                by_outcome.setdefault(outcome, []).append(letter)
        return by_outcome

    def _record(self, replay: Replay, by_outcome: dict[str, list[Letter]]) -> None:
        for outcome, letters in by_outcome.items():
            for start in range(0, len(letters), MOVE_BATCH):
                batch = letters[start : start + MOVE_BATCH]
                self._moves.settled(replay.id, batch, now=self._clock(), outcome=outcome)
                for letter in batch:
                    if letter.big:
                        self._letters.bodies.delete(letter)

    # -- ends ----------------------------------------------------------------------

    def _stops(self, replay: Replay) -> bool:
        """Stop a replay of which too many die again, or whose step never ends."""
        now = self._clock()
        held = now - (now if replay.last_sent is None else replay.last_sent)
        if replay.dies_again:
            why = f"{replay.died} of {replay.sent} died again"
        elif replay.allowance == 0 and replay.waiting and held > self._step_seconds:
            why = (
                f"{replay.waiting} of {replay.sent} have had no outcome for "
                f"{self._step_seconds:.0f} s"
            )
        else:
            return False
        change = change_state(
            replay.id, {ReplayState.RUNNING}, ReplayState.STOPPED, self._clock(), stopped=why
        )
        line = self._letters.audit.line(
            actor="steward", verb="replay.stop", target={"id": replay.id}, reason=why
        )
        try:
            self._letters.table.transact([change], line=line)
        except TransactionCancelled:
            return True  # somebody paused or cancelled it first
        log.warning("replay stopped itself", replay=replay.id, died=replay.died, sent=replay.sent)
        return True

    def _end(self, replay: Replay) -> None:
        """Finish what is done, and forget what waits for nothing."""
        if replay.waiting or replay.state is ReplayState.PLANNED:
            return
        operations: list[dict[str, Any]] = [{"Delete": {"Key": key("active", replay.id)}}]
        if replay.state is ReplayState.RUNNING:
            if not replay.listed:
                return
            if replay.dies_again:
                self._stops(replay)
                return
            running = {ReplayState.RUNNING}
            operations.append(change_state(replay.id, running, ReplayState.DONE, self._clock()))
        else:
            operations.append(
                {
                    "ConditionCheck": {
                        "Key": key("replays", replay.id),
                        "ConditionExpression": "#state = :state",
                        "ExpressionAttributeNames": {"#state": "state"},
                        "ExpressionAttributeValues": typed({":state": replay.state}),
                    }
                }
            )
        try:
            self._letters.table.transact(operations)
        except TransactionCancelled:
            return  # resumed meanwhile
        self._paces.pop(replay.id, None)
        self._settling.pop(replay.id, None)
        log.info(
            "replay ended",
            replay=replay.id,
            state=replay.state,
            sent=replay.sent,
            succeeded=replay.succeeded,
            died=replay.died,
        )


def _may_have_ended(place: dict[str, Any], entry: LedgerEntry | None) -> bool:
    """Whether a letter is worth fetching: not where its job is under way as the next generation."""
    if entry is None or entry.final:
        return True
    return bool(place["sort"] != f"letter.{entry.generation - 1}")


def _outcome(letter: Letter, entry: LedgerEntry | None) -> str | None:
    """Return how a letter's replay ended, as the ledger has it; None while it is open."""
    if entry is None:
        return "gone"
    sent_as = letter.sent_as or letter.generation + 1
    if entry.generation > sent_as:
        # It died once more and was replayed on; or somebody else's word counts now.
        return "superseded"
    if entry.generation < sent_as:
        return "gone"
    return _OUTCOMES.get(entry.state)
