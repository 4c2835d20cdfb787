"""The ledger as a state machine: any order of events, checked against what an observer knows.

The observer keeps its own books: who holds which job until when, what was
promised, how a job ended. It reads an entry after each event and compares. It
uses the worker's own way from a message to a claim, so that the rules for
refused claims are part of what is tried.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, ClassVar

import structlog
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, multiple, rule

from sealwax.ledger import EARLY, LOST_MOST, ClaimLost, JobState, Ledger, LedgerEntry, NewJob
from sealwax.outcomes import Ack, DeadLetter, Retry
from sealwax.worker.claiming import JobClaimer

LANE, LEASE, MAX_AGE, KEEP = "default", 30.0, 1_000, 100_000
GONE = {JobState.SUCCEEDED, JobState.CANCELLED, JobState.EXPIRED}


@dataclass
class Attempt:
    """One attempt: `token` may have lost the job since."""

    job: str
    token: str
    generation: int


@dataclass
class Book:
    """What the observer knows of one job."""

    job: NewJob
    holder: Attempt | None = None
    lease_until: float = 0.0
    alone: bool = False
    claims: int = 0
    crashes: int = 0
    suspicions: int = 0
    #: Tokens of attempts that were thought lost, and what that counted as.
    suspected: dict[str, str] = field(default_factory=dict)
    generation: int = 0
    ended: JobState | None = None

    def lost(self) -> None:
        """Take the job from its holder, as from a worker that is gone."""
        assert self.holder is not None
        kind = "crashes" if self.alone or self.suspicions >= LOST_MOST else "suspicions"
        setattr(self, kind, getattr(self, kind) + 1)
        self.suspected[self.holder.token] = kind
        self.holder = None

    def came_back(self, token: str) -> None:
        """Take back what a lost attempt was counted as: its worker has said a word."""
        kind = self.suspected.pop(token, None)
        if kind is not None and getattr(self, kind) > 0:
            setattr(self, kind, getattr(self, kind) - 1)
        elif kind is not None:
            self.suspected[token] = kind


class LedgerMachine(RuleBasedStateMachine):
    """Give `ledger_factory` a `Ledger` made with a clock."""

    ledger_factory: ClassVar[Callable[[Callable[[], float]], Ledger]]

    attempts: Bundle[Attempt] = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        # In the emulator's future: it deletes what has expired by its own clock.
        self.now = 4_000_000_000.0
        self.ledger = type(self).ledger_factory(lambda: self.now)
        self.books: dict[str, Book] = {}

    # -- the producers' events -------------------------------------------------------

    @initialize(
        delays=st.lists(st.sampled_from([0, 0, 0, 50]), min_size=1, max_size=2),
        expiry=st.sampled_from([None, None, 100]),
    )
    def accept(self, delays: list[int], expiry: int | None) -> None:
        for delay in delays:
            job = NewJob(
                id=secrets.token_hex(16),
                task="test.any",
                tenant="ab" * 16,
                lane=LANE,
                contract=1,
                created=self.now,
                not_after=int(self.now + MAX_AGE),
                expires=int(self.now + KEEP),
                acceptance=secrets.token_hex(8),
                run_before=self.now + expiry if expiry else None,
                not_before=self.now + delay if delay else None,
            )
            assert self.ledger.accept(job).created
            self.books[job.id] = Book(job)
            self.compare(job.id)

    def some(self, which: int) -> Book:
        """Return one of the jobs."""
        books = list(self.books.values())
        return books[which % len(books)]

    @rule(which=st.integers(0, 1))
    def repeat_the_request(self, which: int) -> None:
        book = self.some(which)
        before = self.entry(book)
        assert not self.ledger.accept(book.job).created
        assert self.entry(book) == before
        if book.ended is JobState.ABANDONED:
            assert self.ledger.reaccept(book.job)
            book.ended = None
        else:
            disowned = self.ledger.disown(book.job)
            assert disowned == (before.state is JobState.ACCEPTED)
        self.compare(book.job.id)

    @rule(which=st.integers(0, 1))
    def abandon(self, which: int) -> None:
        book = self.some(which)
        before = self.entry(book)
        done = self.ledger.abandon(book.job.id, acceptance=book.job.acceptance or "")
        assert done == (before.state is JobState.ACCEPTED and before.acceptance is not None)
        if done:
            book.ended = JobState.ABANDONED
        self.compare(book.job.id)

    @rule(which=st.integers(0, 1))
    def cancel(self, which: int) -> None:
        book = self.some(which)
        before = self.entry(book)
        after = self.ledger.cancel(book.job.id)
        assert after is not None
        if before.state is JobState.RUNNING:
            assert after.state is JobState.RUNNING
            assert after.cancel_asked is not None
        elif before.final:
            assert after == before
        else:
            assert after.state is JobState.CANCELLED
            book.ended = JobState.CANCELLED
        self.compare(book.job.id)

    @rule(which=st.integers(0, 1))
    def replay(self, which: int) -> None:
        book = self.some(which)
        before = self.entry(book)
        after = self.ledger.replay(book.job.id, generation=before.generation)
        assert (after is not None) == (before.state is JobState.DEAD)
        if after is not None:
            assert (after.attempts, after.crashes, after.suspicions) == (0, 0, 0)
            assert self.ledger.replay(book.job.id, generation=before.generation) == after
            book.generation += 1
            book.ended, book.holder = None, None
            book.crashes = book.suspicions = 0
            book.suspected = {}
        self.compare(book.job.id)

    @rule(which=st.integers(0, 1))
    def its_own_message_cannot_be_opened(self, which: int) -> None:
        book = self.some(which)
        before = self.entry(book)
        done = self.ledger.die(
            book.job.id, token=None, reason="unopenable", cause="key-retired", error="E"
        )
        free = before.state in (JobState.ACCEPTED, JobState.RETRYING) or (
            before.state is JobState.RUNNING and before.lease_until < self.now
        )
        assert done == (free or before.state is JobState.DEAD)
        if free:
            book.ended, book.holder = JobState.DEAD, None
        self.compare(book.job.id)

    # -- time and workers --------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 10, 29, 31, 60]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(target=attempts, which=st.integers(0, 1), off=st.sampled_from([0, 0, 0, 0, 0, 0, -1, 1]))
    def a_message_arrives(self, which: int, off: int) -> Any:
        book = self.some(which)
        generation = max(0, book.generation + off)
        attempt = Attempt(book.job.id, secrets.token_hex(16), generation)
        claimer = JobClaimer(
            SimpleNamespace(ledger=self.ledger, clock=lambda: self.now),
            job_id=attempt.job,
            token=attempt.token,
            generation=generation,
            lease=LEASE,
            isolation=None,
            settlement=SimpleNamespace(letter=lambda letter, entry: letter, drop=lambda _: Ack()),
            log=structlog.get_logger("test"),
        )
        before = self.entry(book)
        with claimer.claimed() as found:
            if isinstance(found, LedgerEntry):
                self.claimed(book, attempt, before, found)
                self.compare(book.job.id)
                return attempt
        self.refused(book, generation, before, found)
        self.compare(book.job.id)
        return multiple()

    def claimed(
        self, book: Book, attempt: Attempt, before: LedgerEntry, entry: LedgerEntry
    ) -> None:
        assert attempt.generation == book.generation
        assert book.ended is None, f"an attempt started after {book.ended}"
        assert book.holder is None or book.lease_until < self.now, "two hold the job"
        assert before.cancel_asked is None
        assert before.run_before is None or self.now < before.run_before
        lost = before.state is JobState.RUNNING
        assert lost or (before.due or 0.0) <= self.now + EARLY
        assert (before.not_before or 0.0) <= self.now + EARLY
        if lost:
            book.lost()
        assert entry.alone == (entry.suspicions >= 2)
        book.claims += 1
        book.ended = None
        book.holder, book.lease_until, book.alone = attempt, self.now + LEASE, entry.alone

    def refused(self, book: Book, generation: int, before: LedgerEntry, found: Any) -> None:
        if generation != book.generation:
            assert isinstance(found, Ack if generation < book.generation else DeadLetter)
            assert self.entry(book) == before
            return
        after = self.entry(book)
        if after.final and book.ended is None and before.state is JobState.RUNNING:
            book.lost()
        if after.state is JobState.CANCELLED and book.ended is None:
            assert before.cancel_asked is not None
            book.ended, book.holder = JobState.CANCELLED, None
        elif after.state is JobState.EXPIRED and book.ended is None:
            assert before.run_before is not None
            assert self.now >= before.run_before
            book.ended, book.holder = JobState.EXPIRED, None
        elif isinstance(found, Retry):
            held = book.holder is not None and book.lease_until >= self.now
            early = max(after.due or 0.0, after.not_before or 0.0) > self.now + EARLY
            assert held or early, "an attempt that could start was sent away"
        if book.ended in (GONE | {JobState.ABANDONED}):
            assert isinstance(found, Ack)
        if after.state is JobState.DEAD:
            assert isinstance(found, DeadLetter)

    @rule(attempt=attempts)
    def renew(self, attempt: Attempt) -> None:
        book = self.books[attempt.job]
        done = self.ledger.renew(attempt.job, token=attempt.token, lease=LEASE)
        assert done == self.holds(attempt)
        if done:
            book.lease_until = self.now + LEASE
        else:
            self.said_a_word(attempt)
        self.compare(attempt.job)

    @rule(attempt=attempts)
    def neighbours_come_in(self, attempt: Attempt) -> None:
        book = self.books[attempt.job]
        done = self.ledger.not_alone(attempt.job, token=attempt.token)
        assert done == self.holds(attempt)
        if done:
            book.alone = False
            assert not self.entry(book).alone
        else:
            self.said_a_word(attempt)
        self.compare(attempt.job)

    def said_a_word(self, attempt: Attempt) -> None:
        """A worker has tried to write for an attempt that does not hold its job."""
        book = self.books[attempt.job]
        if book.ended is None:
            book.came_back(attempt.token)

    @rule(attempt=consumes(attempts), how=st.sampled_from(["succeed", "retry", "die", "release"]))
    def finish(self, attempt: Attempt, how: str) -> None:
        self.end(attempt, how)

    @rule(attempt=attempts, how=st.sampled_from(["succeed", "retry", "die"]))
    def finish_and_lose_the_answer(self, attempt: Attempt, how: str) -> None:
        """Leave the attempt in place: it will try to record something again."""
        self.end(attempt, how)

    @rule(attempt=consumes(attempts))
    def the_worker_is_lost(self, attempt: Attempt) -> None:
        """Say nothing more for it."""

    @rule(attempt=consumes(attempts))
    def the_child_dies(self, attempt: Attempt) -> None:
        book = self.books[attempt.job]
        held = self.holds(attempt)
        try:
            entry = self.ledger.crash(attempt.job, token=attempt.token)
        except ClaimLost:
            assert not held
            self.said_a_word(attempt)
        else:
            assert held
            book.crashes += 1
            assert entry.crashes == book.crashes
            book.holder = None
        self.compare(attempt.job)

    @rule(attempt=consumes(attempts))
    def the_check_stops_it(self, attempt: Attempt) -> None:
        book = self.books[attempt.job]
        if self.entry(book).cancel_asked is None:
            return
        held = self.holds(attempt)
        try:
            self.ledger.stop(attempt.job, token=attempt.token)
        except ClaimLost:
            assert not held
            self.said_a_word(attempt)
        else:
            if held:
                book.ended, book.holder = JobState.CANCELLED, None
        self.compare(attempt.job)

    def end(self, attempt: Attempt, how: str) -> None:
        """Record an outcome; only the holder's may be."""
        book = self.books[attempt.job]
        before, held = self.entry(book), self.holds(attempt)
        try:
            recorded = self.record(attempt, how, before)
        except ClaimLost:
            recorded = None
        after = self.entry(book)
        if not held:
            same = {"suspicions": 0, "crashes": 0, "suspected": frozenset()}
            assert replace(after, **same) == replace(before, **same), f"a late {how} was recorded"
            self.said_a_word(attempt)
            # Only where it says again what it had said before.
            assert not recorded or before.token == attempt.token or before.state is JobState.DEAD
        else:
            assert recorded is not None
            book.holder = None
            if how == "retry" and before.cancel_asked is None:
                book.suspicions = max(0, book.suspicions - 1)
            asked = before.cancel_asked is not None
            ends = {"succeed": JobState.SUCCEEDED, "die": JobState.DEAD}
            book.ended = ends.get(how, JobState.CANCELLED if how == "retry" and asked else None)
            expected = book.ended or JobState.RETRYING
            assert after.state is expected
        self.compare(attempt.job)

    def record(self, attempt: Attempt, how: str, before: LedgerEntry) -> bool:
        """Record an outcome; False where the ledger says that it did not."""
        ledger, job, token = self.ledger, attempt.job, attempt.token
        if how == "succeed":
            ledger.succeed(job, token=token, result="sealed")
        elif how == "retry":
            ledger.retry(
                job, token=token, due=self.now + 20, cause="x", error="E",
                suspicions=before.suspicions,
            )  # fmt: skip
        elif how == "release":
            ledger.release(job, token=token)
        else:
            return ledger.die(job, token=token, reason="rejected", cause="x", error="E")
        return True

    # -- the observer ------------------------------------------------------------------

    def holds(self, attempt: Attempt) -> bool:
        """Whether nobody has taken the job from the attempt, nor it ended."""
        holder = self.books[attempt.job].holder
        return holder is not None and holder.token == attempt.token

    def entry(self, book: Book) -> LedgerEntry:
        """Return the job's entry."""
        entry = self.ledger.get(book.job.id)
        assert entry is not None
        return entry

    def compare(self, job_id: str) -> None:
        """Compare an entry with the books."""
        book = self.books[job_id]
        entry = self.entry(book)
        if book.holder is not None and entry.state is JobState.RETRYING:
            # Taken from a holder whose lease had ended, and not claimed again.
            assert book.lease_until < self.now
            book.lost()
        assert entry.final == (book.ended is not None)
        assert book.ended is None or entry.state is book.ended
        assert (entry.state is JobState.RUNNING) == (book.holder is not None)
        if book.holder is not None:
            assert (entry.token, entry.lease_until) == (book.holder.token, book.lease_until)
        assert entry.generation == book.generation == entry.replays
        assert entry.fence == book.claims
        assert 0 <= entry.attempts <= book.claims
        assert entry.crashes == book.crashes
        assert entry.suspicions == book.suspicions
        watch = None if entry.final else f"open#{LANE}"
        assert entry.watch == ("dead" if entry.state is JobState.DEAD else watch)
        assert (entry.expires is None) == (entry.state is JobState.DEAD)
        assert (entry.finished is not None) == entry.final
        assert (entry.reason is not None) == (entry.state is JobState.DEAD)
        assert entry.created == book.job.created
