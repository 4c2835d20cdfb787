"""What becomes of a failed attempt: the ledger's word first, then the message's outcome."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from sealwax.envelope import Context, Purpose
from sealwax.job import Job
from sealwax.keys.provenance import Own
from sealwax.ledger import Claimed, JobState, Ledger, LedgerEntry, NewJob, Refused
from sealwax.outbox.payloads import PayloadStoreUnreachable
from sealwax.outcomes import Ack, DeadLetter, Failure, Outcome, Reason, Retry
from sealwax.retry import RetryPolicy
from sealwax.settings import Settings
from sealwax.task_definition import task
from sealwax.testing.dynamodb import FakeDynamoDB
from sealwax.worker.settlement import (
    CRASHED,
    SHORT,
    UNKNOWN_JOB,
    EarlyDeaths,
    LostAttempt,
    Settlement,
    bury_unclaimed,
)

JOB, OTHER = "0123456789abcdef0123456789abcdef", "f" * 32
TENANT = "ab" * 16
REFERENCE, ANOTHER = "swxc1.one", "swxc1.another"
TRANSIENT = Failure(kind="transient", cause="downstream", error="Timeout")
PERMANENT = Failure(kind="permanent", cause="refused", error="Refused")
DEATH = DeadLetter(reason=Reason.REJECTED, cause="refused", error="Refused")


class Payload(BaseModel):
    pass


@task(
    name="demo.greet",
    contract=Payload,
    retry=RetryPolicy(attempts=3, base=10, cap=100, jitter=False),
)
def greet(payload: Payload, job: Job) -> None:
    """Do nothing."""


@dataclass
class Payloads:
    """Notes what is done to the job's payload in S3."""

    moved: list[tuple[str, str]] = field(default_factory=list)
    erased: list[str] = field(default_factory=list)
    away: bool = False

    def move_to_dead(self, job: str, reference: str) -> None:
        if self.away:
            raise PayloadStoreUnreachable
        self.moved.append((job, reference))

    def erase(self, job: str) -> None:
        if self.away:
            raise PayloadStoreUnreachable
        self.erased.append(job)


@dataclass
class World:
    """One job in a real ledger, and a clock that the test turns."""

    now: float = 1_000.0
    payloads: Payloads = field(default_factory=Payloads)

    def __post_init__(self) -> None:
        self.table: Any = FakeDynamoDB()
        self.ledger = Ledger(self.table, "jobs", keep=10_000, clock=lambda: self.now)
        self.runtime: Any = SimpleNamespace(
            settings=Settings(limits={"crashes": 2}),
            ledger=self.ledger,
            clock=lambda: self.now,
            payloads=self.payloads,
            stores=SimpleNamespace(payloads=self.payloads),
        )

    def accept(self, *, claim_checks: tuple[str, ...] = ()) -> None:
        self.ledger.accept(
            NewJob(
                id=JOB, task=greet.name, tenant=TENANT, lane="default", contract=1,
                created=self.now, not_after=int(self.now + 500), expires=int(self.now + 900),
                claim_checks=claim_checks,
            )
        )  # fmt: skip

    def claim(self, token: str = "t") -> LedgerEntry:
        claim = self.ledger.claim(JOB, token=token, lease=30)
        assert isinstance(claim, Claimed)
        return claim.entry

    @property
    def entry(self) -> LedgerEntry:
        found = self.ledger.get(JOB)
        assert found is not None
        return found

    def settlement(self, job: str = JOB, *, envelope: str = "") -> Settlement:
        return Settlement(self.runtime, greet, job, envelope=envelope, chance=lambda: 0.5)

    def lost(
        self, token: str, early: EarlyDeaths, kind: Any = "crashed", **changes: Any
    ) -> Outcome:
        attempt = LostAttempt(token=token, message="m", kind=kind, own=own(**changes), queue=None)
        return self.settlement(changes.get("job", JOB)).lost(attempt, early)


def own(*, generation: int = 0, **context: Any) -> Own:
    """Return a verified message of the job."""
    values: dict[str, Any] = {
        "purpose": Purpose.JOB, "task": greet.name, "job": JOB, "tenant": TENANT, "contract": 1,
        "issued_at": 1_000, "not_after": 1_500,
    }  # fmt: skip
    return Own(context=Context(**(values | context)), generation=generation, argument="swx1.a.b.c")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def claimed(world: World) -> World:
    """A job that an attempt with token `t` holds."""
    world.accept()
    world.claim()
    return world


# -- attempts that failed


def test_a_transient_failure_is_recorded_with_its_time_and_comes_back_then(claimed: World) -> None:
    outcome = claimed.settlement().failed(claimed.entry, TRANSIENT, token="t")
    assert outcome == Retry(10.0)
    entry = claimed.entry
    assert (entry.state, entry.due) == (JobState.RETRYING, claimed.now + 10)
    assert (entry.cause, entry.error) == ("downstream", "Timeout")


def test_a_failure_of_a_claim_that_was_lost_decides_nothing(claimed: World) -> None:
    before = claimed.entry
    for failure in (TRANSIENT, PERMANENT):
        assert claimed.settlement().failed(before, failure, token="another") == Retry(SHORT)
    assert claimed.entry == before


def test_a_job_that_was_to_be_cancelled_ends_so_instead_of_a_retry(claimed: World) -> None:
    claimed.ledger.cancel(JOB)
    assert claimed.settlement().failed(claimed.entry, TRANSIENT, token="t") == Ack()
    assert claimed.entry.state is JobState.CANCELLED


def test_a_permanent_failure_is_a_death_with_its_place(claimed: World) -> None:
    outcome = claimed.settlement().failed(claimed.entry, PERMANENT, token="t", place="demo:greet")
    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, outcome.job, outcome.attempts) == (Reason.REJECTED, JOB, 1)
    assert outcome.place == "demo:greet"
    entry = claimed.entry
    assert (entry.state, entry.reason, entry.cause) == (JobState.DEAD, "rejected", "refused")


def test_the_last_attempt_exhausts_the_job(world: World) -> None:
    world.accept()
    for number in range(1, 4):
        world.claim(f"t{number}")
        outcome = world.settlement().failed(world.entry, TRANSIENT, token=f"t{number}")
        world.now += 60
    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, outcome.attempts) == (Reason.EXHAUSTED, 3)
    assert world.entry.state is JobState.DEAD


# -- payloads


def test_the_payload_of_a_dead_job_moves_to_where_nothing_expires(world: World) -> None:
    world.accept(claim_checks=(REFERENCE, ANOTHER))
    world.claim()
    world.settlement().dead(world.entry, DEATH, token="t")
    assert world.payloads.moved == [(JOB, REFERENCE), (JOB, ANOTHER)]
    assert world.payloads.erased == []


@pytest.mark.parametrize("away", [False, True])
def test_a_death_that_the_ledger_refuses_moves_nothing(world: World, away: bool) -> None:
    world.payloads.away = away
    world.accept(claim_checks=(REFERENCE,))
    world.claim()
    assert world.settlement().dead(world.entry, DEATH, token="another") == Retry(SHORT)
    assert (world.payloads.moved, world.entry.state) == ([], JobState.RUNNING)


def test_a_store_that_is_away_changes_no_outcome(world: World) -> None:
    world.payloads.away = True
    world.accept(claim_checks=(REFERENCE,))
    world.claim()
    assert world.settlement().drop(world.entry) == Ack()
    assert isinstance(world.settlement().dead(world.entry, DEATH, token="t"), DeadLetter)
    assert world.entry.state is JobState.DEAD


def test_the_message_names_the_payload_where_the_entry_is_too_old_to(world: World) -> None:
    world.accept()
    world.claim()
    del world.table.items[JOB]["claim_checks"]
    settlement = world.settlement(envelope=REFERENCE)
    assert settlement.drop(world.entry) == Ack()
    settlement.dead(world.entry, DEATH, token="t")
    assert (world.payloads.erased, world.payloads.moved) == ([JOB], [(JOB, REFERENCE)])


def test_a_job_without_a_stored_payload_asks_s3_for_nothing(claimed: World) -> None:
    # Not even where its message names one: the ledger knows better.
    settlement = claimed.settlement(envelope=REFERENCE)
    assert settlement.drop(claimed.entry) == Ack()
    settlement.dead(claimed.entry, DEATH, token="t")
    assert (claimed.payloads.erased, claimed.payloads.moved) == ([], [])


# -- attempts whose process is gone


def test_a_death_is_counted_and_the_job_tried_again_until_it_has_died_too_often(
    claimed: World,
) -> None:
    early = EarlyDeaths()
    assert claimed.lost("t", early) == Retry(10.0)
    assert (claimed.entry.state, claimed.entry.crashes) == (JobState.RETRYING, 1)
    claimed.now += 10
    claimed.claim("t2")
    letter = claimed.lost("t2", early)
    assert letter == replace(CRASHED, job=JOB, attempts=2)
    assert (claimed.entry.state, claimed.entry.reason) == (JobState.DEAD, "crashed")


def test_a_copy_of_a_crashed_jobs_message_waits_as_its_own_does(claimed: World) -> None:
    """Whoever has copied messages must not use a job's deaths up at once."""
    assert claimed.lost("t", EarlyDeaths()) == Retry(10.0)
    claimed.now += 5
    assert isinstance(claimed.ledger.claim(JOB, token="copy", lease=30), Refused)
    claimed.now += 5
    assert isinstance(claimed.ledger.claim(JOB, token="own", lease=30), Claimed)


def test_a_hard_time_limit_is_a_failure_like_any_other_and_no_crash(claimed: World) -> None:
    assert claimed.lost("t", EarlyDeaths(), "timeout") == Retry(10.0)
    assert (claimed.entry.cause, claimed.entry.crashes or 0) == ("time-limit", 0)


def test_a_child_that_dies_before_its_claim_is_counted_in_memory(world: World) -> None:
    world.accept()
    early = EarlyDeaths()
    first = world.lost("t", early)
    assert isinstance(first, Retry)
    assert world.entry.state is JobState.ACCEPTED
    letter = world.lost("t", early)
    assert letter == replace(CRASHED, cause="died-before-claim", job=JOB, attempts=0)
    assert (world.entry.state, world.entry.cause) == (JobState.DEAD, "died-before-claim")
    assert early.add("m") == 1  # it was forgotten


def test_a_death_that_the_ledger_does_not_record_sends_no_letter(world: World) -> None:
    world.accept()
    early = EarlyDeaths()
    world.lost("t", early, generation=1)
    assert world.lost("t", early, generation=1) == Retry(SHORT)
    assert world.entry.state is JobState.ACCEPTED


def test_a_death_after_the_outcome_was_recorded_changes_nothing(claimed: World) -> None:
    claimed.ledger.succeed(JOB, token="t", result=None, omitted=None)
    early = EarlyDeaths()
    for token in ("t", "a copy's"):
        assert isinstance(claimed.lost(token, early), Retry)
    assert claimed.entry.state is JobState.SUCCEEDED
    assert early.add("m") == 1


@pytest.mark.parametrize("kind", ["crashed", "timeout"])
def test_a_lost_message_of_an_unknown_job_says_so(world: World, kind: str) -> None:
    assert world.lost("t", EarlyDeaths(), kind) == replace(UNKNOWN_JOB, job=JOB, attempts=0)


def test_a_lost_message_that_is_not_this_jobs_counts_no_death(world: World) -> None:
    world.accept()
    early = EarlyDeaths()
    for _ in range(3):
        letter = world.lost("t", early, tenant="cd" * 16)
        assert isinstance(letter, DeadLetter)
        assert letter.reason is Reason.STRAY
    assert world.entry.state is JobState.ACCEPTED
    assert early.add("m") == 1


def test_the_deaths_seen_longest_ago_are_forgotten_first() -> None:
    early = EarlyDeaths(most=2)
    assert [early.add(message) for message in "aab"] == [1, 2, 1]
    early.add("c")
    assert [early.add(message) for message in "bca"] == [2, 2, 1]


# -- messages that end before any claim


def test_an_own_message_that_cannot_be_opened_kills_its_job(world: World) -> None:
    world.accept()
    letter = bury_unclaimed(world.runtime, own(), DEATH, queue=None)
    assert letter == replace(DEATH, job=JOB, attempts=0)
    assert (world.entry.state, world.entry.reason) == (JobState.DEAD, "rejected")
    assert bury_unclaimed(world.runtime, own(), DEATH, queue=None) == letter  # a copy of it


@pytest.mark.parametrize(
    ("changes", "cause"),
    [({"generation": 1}, "generation"), ({"tenant": "cd" * 16}, "context-mismatch")],
)
def test_a_message_that_the_entry_does_not_agree_with_kills_nothing(
    world: World, changes: dict[str, Any], cause: str
) -> None:
    world.accept()
    letter = bury_unclaimed(world.runtime, own(**changes), DEATH, queue=None)
    assert (letter.reason, letter.cause) == (Reason.STRAY, cause)
    assert world.entry.state is JobState.ACCEPTED


def test_a_job_that_runs_elsewhere_is_not_ended_by_a_copy_of_its_message(claimed: World) -> None:
    letter = bury_unclaimed(claimed.runtime, own(), DEATH, queue=None)
    assert (letter.reason, letter.cause) == (Reason.STRAY, "job-not-dead")
    assert claimed.entry.state is JobState.RUNNING


def test_an_own_message_of_an_unknown_job_is_named_so(world: World) -> None:
    letter = bury_unclaimed(world.runtime, own(job=OTHER), DEATH, queue=None)
    assert letter == replace(UNKNOWN_JOB, job=OTHER, attempts=0)
