"""The ledger's conditional writes, on both emulators."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from sealwax.aws.clients import Aws, AwsTimeouts
from sealwax.ledger import (
    Accepted,
    Claimed,
    ClaimLost,
    JobState,
    Ledger,
    LedgerUnreachable,
    NewJob,
    Refused,
)
from sealwax.provision import provision
from sealwax.settings import Settings

JOB = "0123456789abcdef0123456789abcdef"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["aws_env", "moto_env"])
def ledger(request: pytest.FixtureRequest, clock: Clock) -> Ledger:
    settings: Settings = request.getfixturevalue(request.param)
    aws = Aws()
    provision(settings, aws)
    return Ledger(aws.client("dynamodb"), settings.table_name("jobs"), keep=100, clock=clock)


@pytest.fixture
def atomic_ledger(aws_env: Settings, clock: Clock) -> Ledger:
    """Ministack's only: moto's conditional writes are not atomic between threads.

    Eight threads updating one item of a bare moto under one condition gave more
    than one winner in 15 of 60 rounds.
    """
    aws = Aws()
    provision(aws_env, aws)
    return Ledger(aws.client("dynamodb"), aws_env.table_name("jobs"), keep=100, clock=clock)


def new_job(
    clock: Clock, job_id: str = JOB, fingerprint: str | None = None, acceptance: str = "a"
) -> NewJob:
    return NewJob(
        id=job_id,
        task="demo.greet",
        tenant="ab" * 16,
        lane="default",
        contract=1,
        created=clock.now,
        not_after=int(clock.now + 60),
        expires=int(clock.now + 100),
        fingerprint=fingerprint,
        acceptance=acceptance,
    )


def test_an_id_is_accepted_once_and_the_second_sees_the_first(ledger: Ledger, clock: Clock) -> None:
    first = ledger.accept(new_job(clock, fingerprint="v1:aa"))
    clock.now += 5
    second = ledger.accept(new_job(clock, fingerprint="v1:bb"))
    assert first.created
    assert not second.created
    assert second.entry.fingerprint == "v1:aa"
    assert second.entry.created == 1_000_000.0
    assert second.entry.state is JobState.ACCEPTED


def test_a_job_runs_to_success(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    claim = ledger.claim(JOB, token="t1", lease=30)
    assert isinstance(claim, Claimed)
    assert (claim.entry.attempts, claim.entry.fence) == (1, 1)
    ledger.succeed(JOB, token="t1", result="sealed")
    entry = ledger.get(JOB)
    assert entry is not None
    assert (entry.state, entry.result, entry.attempts) == (JobState.SUCCEEDED, "sealed", 1)
    refused = ledger.claim(JOB, token="t2", lease=30)
    assert isinstance(refused, Refused)
    assert refused.entry is not None
    assert refused.entry.state is JobState.SUCCEEDED


def test_a_running_job_is_not_claimed_until_its_lease_ends(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t1", lease=30)
    clock.now += 29
    assert isinstance(ledger.claim(JOB, token="t2", lease=30), Refused)
    running = ledger.get(JOB)
    assert running is not None
    assert ledger.suspect(running) is None
    clock.now += 2
    assert ledger.suspect(running) is not None
    assert ledger.suspect(running) is None
    second = ledger.claim(JOB, token="t2", lease=30)
    assert isinstance(second, Claimed)
    # The lost attempt is given back: nobody knows that the job was to blame.
    assert (second.entry.attempts, second.entry.fence, second.entry.suspicions) == (1, 2, 1)
    with pytest.raises(ClaimLost):
        ledger.succeed(JOB, token="t1", result=None)
    with pytest.raises(ClaimLost):
        ledger.retry(JOB, token="t1", due=0, cause="x", error="E")
    assert not ledger.die(JOB, token="t1", reason="rejected", cause="x", error="E")
    assert not ledger.renew(JOB, token="t1", lease=30)
    assert ledger.renew(JOB, token="t2", lease=30)


def test_a_claim_whose_answer_was_lost_is_granted_again_uncounted(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t1", lease=30)
    again = ledger.claim(JOB, token="t1", lease=30)
    assert isinstance(again, Claimed)
    assert again.entry.attempts == 1


def test_a_finish_whose_answer_was_lost_may_be_repeated(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t1", lease=30)
    ledger.succeed(JOB, token="t1", result="sealed")
    ledger.succeed(JOB, token="t1", result="sealed")


def test_a_retry_keeps_its_cause_and_the_next_claim_counts(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t1", lease=30)
    ledger.retry(JOB, token="t1", due=clock.now + 7, cause="downstream-503", error="Transient")
    entry = ledger.get(JOB)
    assert entry is not None
    assert (entry.state, entry.cause, entry.due) == (
        JobState.RETRYING,
        "downstream-503",
        clock.now + 7,
    )
    assert isinstance(ledger.claim(JOB, token="t2", lease=30), Refused)  # a copy, too early
    clock.now += 5
    claim = ledger.claim(JOB, token="t2", lease=30)
    assert isinstance(claim, Claimed)
    assert claim.entry.attempts == 2
    assert claim.entry.due is None


def test_a_released_attempt_is_not_counted(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t1", lease=30)
    ledger.release(JOB, token="t1")
    claim = ledger.claim(JOB, token="t2", lease=30)
    assert isinstance(claim, Claimed)
    assert claim.entry.attempts == 1


def test_a_dead_job_keeps_its_reason_and_never_expires(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t1", lease=30)
    assert ledger.die(JOB, token="t1", reason="rejected", cause="downstream-400", error="Rejected")
    entry = ledger.get(JOB)
    assert entry is not None
    assert (entry.state, entry.reason, entry.cause) == (JobState.DEAD, "rejected", "downstream-400")
    assert entry.expires is None
    assert isinstance(ledger.claim(JOB, token="t2", lease=30), Refused)


def test_a_death_before_any_claim_is_final(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    assert ledger.die(
        JOB, token=None, reason="unopenable", cause="key-retired", error="KeyRetired", generation=0
    )
    refused = ledger.claim(JOB, token="t1", lease=30)
    assert isinstance(refused, Refused)
    assert refused.entry is not None
    assert (refused.entry.state, refused.entry.attempts) == (JobState.DEAD, 0)


@pytest.mark.parametrize(
    "bound", [{"task": "test.other"}, {"tenant": "cd" * 16}, {"lane": "other"}]
)
def test_a_message_bound_to_something_else_claims_and_changes_nothing(
    ledger: Ledger, clock: Clock, bound: dict[str, str]
) -> None:
    ledger.accept(new_job(clock))
    before = ledger.get(JOB)
    assert before is not None
    own = {"task": before.task, "tenant": before.tenant, "lane": before.lane}
    assert ledger.claim(JOB, token="t1", lease=30, **(own | bound)) == Refused(before)
    assert ledger.get(JOB) == before
    assert isinstance(ledger.claim(JOB, token="t1", lease=30, **own), Claimed)


def test_a_running_job_is_not_ended_by_somebody_without_its_token(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t1", lease=30)
    assert not ledger.die(JOB, token=None, reason="unopenable", cause="x", error="E")
    entry = ledger.get(JOB)
    assert entry is not None
    assert entry.state is JobState.RUNNING


def test_an_abandoned_job_never_runs_but_may_be_accepted_again(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(new_job(clock))
    assert ledger.abandon(JOB, acceptance="a")
    assert isinstance(ledger.claim(JOB, token="t1", lease=30), Refused)
    clock.now += 10
    assert ledger.reaccept(new_job(clock))
    assert not ledger.reaccept(new_job(clock))
    assert isinstance(ledger.claim(JOB, token="t1", lease=30), Claimed)
    assert not ledger.abandon(JOB, acceptance="a")


def test_crashes_are_counted_apart_from_attempts(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    for number in (1, 2):
        ledger.claim(JOB, token=f"t{number}", lease=30)
        assert ledger.crash(JOB, token=f"t{number}").crashes == number
    with pytest.raises(ClaimLost):
        ledger.crash(JOB, token="t1")


def test_unknown_jobs_are_refused_everywhere(ledger: Ledger) -> None:
    assert ledger.get(JOB) is None
    assert ledger.claim(JOB, token="t1", lease=30) == Refused(None)
    assert not ledger.die(JOB, token=None, reason="malformed", cause="x", error="E")
    assert not ledger.abandon(JOB, acceptance="a")


def test_one_of_many_simultaneous_claims_wins(atomic_ledger: Ledger, clock: Clock) -> None:
    atomic_ledger.accept(new_job(clock))
    outcomes: list[object] = []
    threads = [
        threading.Thread(
            target=lambda n=n: outcomes.append(atomic_ledger.claim(JOB, token=f"t{n}", lease=30))
        )
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(outcome, Claimed) for outcome in outcomes) == 1


def test_one_of_many_simultaneous_accepts_creates(atomic_ledger: Ledger, clock: Clock) -> None:
    outcomes: list[Accepted] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(atomic_ledger.accept(new_job(clock))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(outcome.created for outcome in outcomes) == 1
    assert len(outcomes) == 8


def test_an_unreachable_table_is_said_so(
    monkeypatch: pytest.MonkeyPatch, aws_env: Settings
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    aws = Aws(AwsTimeouts(connect=0.5, read=0.5, attempts=1))
    with pytest.raises(LedgerUnreachable):
        Ledger(aws.client("dynamodb"), "jobs").get(JOB)


def test_a_verified_death_without_a_claim_is_final(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t1", lease=30)
    ledger.crash(JOB, token="t1")
    assert ledger.die(JOB, token=None, reason="crashed", cause="x", error="E")
    assert isinstance(ledger.claim(JOB, token="t2", lease=30), Refused)


def test_only_the_acceptance_that_nobody_repeated_may_be_abandoned(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(new_job(clock, acceptance="a"))
    assert not ledger.abandon(JOB, acceptance="other")
    assert ledger.disown(JOB)  # a repeat is about to send
    assert not ledger.abandon(JOB, acceptance="a")
    entry = ledger.get(JOB)
    assert entry is not None
    assert entry.state is JobState.ACCEPTED
    assert isinstance(ledger.claim(JOB, token="t1", lease=30), Claimed)


def watched(ledger: Ledger, watch: str) -> list[str]:
    return [entry.id for entry in ledger.watching(watch).entries]


def numbered(n: int) -> str:
    return f"{n:032x}"


def test_open_jobs_are_found_by_lane_until_they_end_and_dead_ones_until_replayed(
    ledger: Ledger, clock: Clock
) -> None:
    for n in range(4):
        clock.now += 1
        ledger.accept(new_job(clock, numbered(n)))
        ledger.claim(numbered(n), token="t", lease=30)
    assert watched(ledger, "open#default") == [numbered(n) for n in range(4)]
    assert watched(ledger, "open#slow") == []
    ledger.succeed(numbered(0), token="t", result=None)
    ledger.retry(numbered(1), token="t", due=clock.now + 5, cause="x", error="E")
    ledger.die(numbered(2), token="t", reason="rejected", cause="x", error="E")
    assert watched(ledger, "open#default") == [numbered(1), numbered(3)]
    assert watched(ledger, "dead") == [numbered(2)]
    assert ledger.expire(numbered(1))
    assert ledger.replay(numbered(2), generation=0)
    assert watched(ledger, "open#default") == [numbered(2), numbered(3)]
    assert watched(ledger, "dead") == []


def test_an_abandoned_job_is_watched_again_once_accepted_again(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(new_job(clock))
    ledger.abandon(JOB, acceptance="a")
    assert watched(ledger, "open#default") == []
    ledger.reaccept(new_job(clock))
    assert watched(ledger, "open#default") == [JOB]


def test_jobs_are_listed_in_pages_that_end(ledger: Ledger, clock: Clock) -> None:
    for n in range(5):
        clock.now += 1
        ledger.accept(new_job(clock, numbered(n)))
    seen: list[str] = []
    after = None
    for _ in range(4):
        page = ledger.of_tenant("ab" * 16, after, limit=2)
        seen += [entry.id for entry in page.entries]
        after = page.after
        if after is None:
            break
    assert after is None
    assert seen == [numbered(n) for n in (4, 3, 2, 1, 0)]
    oldest_first = ledger.of_tenant("ab" * 16, limit=2, newest_first=False).entries
    assert [entry.id for entry in oldest_first] == [numbered(0), numbered(1)]
    assert ledger.of_tenant("cd" * 16).entries == ()


def test_the_oldest_of_a_lane_has_waited_longest_since_its_acceptance_or_replay(
    ledger: Ledger, clock: Clock
) -> None:
    assert ledger.oldest("default") is None
    ledger.accept(new_job(clock, numbered(1)))
    clock.now += 10
    ledger.accept(new_job(clock, numbered(2)))
    oldest = ledger.oldest("default")
    assert oldest is not None
    assert oldest.id == numbered(1)
    ledger.die(numbered(1), token=None, reason="rejected", cause="x", error="E")
    clock.now += 10
    ledger.replay(numbered(1), generation=0)
    oldest = ledger.oldest("default")
    assert oldest is not None
    assert (oldest.id, oldest.since) == (numbered(2), clock.now - 10)


def dead(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t1", lease=30)
    ledger.crash(JOB, token="t1")
    ledger.die(JOB, token=None, reason="crashed", cause="x", error="E")


def test_a_replayed_job_begins_anew_as_its_next_generation(ledger: Ledger, clock: Clock) -> None:
    dead(ledger, clock)
    clock.now += 1_000_000
    entry = ledger.replay(JOB, generation=0)
    assert entry is not None
    assert (entry.state, entry.generation, entry.replays) == (JobState.ACCEPTED, 1, 1)
    assert (entry.attempts, entry.crashes, entry.reason, entry.finished) == (0, 0, None, None)
    assert (entry.since, entry.not_after) == (clock.now, int(clock.now + 60))
    assert entry.created == 1_000_000.0
    assert entry.expires == int(clock.now + 100)
    claim = ledger.claim(JOB, token="t2", lease=30, generation=1)
    assert isinstance(claim, Claimed)
    assert (claim.entry.attempts, claim.entry.fence) == (1, 2)


def test_a_replay_whose_answer_was_lost_may_be_repeated_until_the_job_runs(
    ledger: Ledger, clock: Clock
) -> None:
    dead(ledger, clock)
    first = ledger.replay(JOB, generation=0)
    assert first is not None
    assert ledger.replay(JOB, generation=0) == first
    ledger.claim(JOB, token="t2", lease=30, generation=1)
    assert ledger.replay(JOB, generation=0) is None
    assert ledger.replay(JOB, generation=1) is None
    ledger.die(JOB, token="t2", reason="rejected", cause="x", error="E")
    assert ledger.replay(JOB, generation=0) is None
    again = ledger.replay(JOB, generation=1)
    assert again is not None
    assert (again.generation, again.replays) == (2, 2)


def test_messages_of_other_generations_claim_nothing(ledger: Ledger, clock: Clock) -> None:
    dead(ledger, clock)
    ledger.replay(JOB, generation=0)
    for generation in (0, 2):
        refused = ledger.claim(JOB, token="t2", lease=30, generation=generation)
        assert isinstance(refused, Refused)
        assert refused.entry is not None
        assert (refused.entry.state, refused.entry.generation) == (JobState.ACCEPTED, 1)
    # Nor does one of the generation before end the job.
    assert not ledger.die(JOB, token=None, reason="unopenable", cause="x", error="E", generation=0)
    assert isinstance(ledger.claim(JOB, token="t2", lease=30, generation=1), Claimed)


@pytest.mark.parametrize("end", ["succeed", "expire", "run", "nothing"])
def test_only_dead_jobs_are_replayed(ledger: Ledger, clock: Clock, end: str) -> None:
    assert ledger.replay(JOB, generation=0) is None
    ledger.accept(new_job(clock))
    if end == "expire":
        ledger.expire(JOB)
    elif end != "nothing":
        ledger.claim(JOB, token="t1", lease=30)
        if end == "succeed":
            ledger.succeed(JOB, token="t1", result=None)
    assert ledger.replay(JOB, generation=0) is None


def test_one_of_many_simultaneous_replays_raises_the_generation_once(
    atomic_ledger: Ledger, clock: Clock
) -> None:
    dead(atomic_ledger, clock)
    entries: list[object] = []
    threads = [
        threading.Thread(target=lambda: entries.append(atomic_ledger.replay(JOB, generation=0)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entries) == 8
    assert all(entry == entries[0] for entry in entries)
    now = atomic_ledger.get(JOB)
    assert now is not None
    assert (now.generation, now.replays) == (1, 1)


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_asked(
    ledger: Ledger, clock: Clock
) -> None:
    assert ledger.cancel(JOB) is None
    ledger.accept(new_job(clock))
    entry = ledger.cancel(JOB)
    assert entry is not None
    assert (entry.state, entry.finished, entry.watch) == (JobState.CANCELLED, clock.now, None)
    assert ledger.cancel(JOB) == entry
    assert isinstance(ledger.claim(JOB, token="t", lease=30), Refused)
    other = numbered(1)
    ledger.accept(new_job(clock, other))
    ledger.claim(other, token="t", lease=30)
    entry = ledger.cancel(other)
    assert entry is not None
    assert (entry.state, entry.cancel_asked) == (JobState.RUNNING, clock.now)
    ledger.stop(other, token="t")
    ledger.stop(other, token="t")
    stopped = ledger.get(other)
    assert stopped is not None
    assert (stopped.state, stopped.watch) == (JobState.CANCELLED, None)


def test_a_job_that_was_to_be_cancelled_is_not_tried_again(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t", lease=30)
    ledger.cancel(JOB)
    assert not ledger.retry(JOB, token="t", due=clock.now, cause="x", error="E")
    assert not ledger.retry(JOB, token="t", due=clock.now, cause="x", error="E")
    entry = ledger.get(JOB)
    assert entry is not None
    assert entry.state is JobState.CANCELLED


def test_a_success_despite_a_cancel_is_a_success(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t", lease=30)
    ledger.cancel(JOB)
    ledger.succeed(JOB, token="t", result="sealed")
    entry = ledger.cancel(JOB)
    assert entry is not None
    assert entry.state is JobState.SUCCEEDED


def test_no_attempt_starts_before_its_time_nor_after_its_expiry(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(replace(new_job(clock), not_before=clock.now + 10, run_before=clock.now + 20))
    assert isinstance(ledger.claim(JOB, token="t", lease=30), Refused)
    clock.now += 9  # two seconds early will do
    assert isinstance(ledger.claim(JOB, token="t", lease=30), Claimed)
    ledger.retry(JOB, token="t", due=clock.now, cause="x", error="E")
    clock.now += 11
    assert isinstance(ledger.claim(JOB, token="t", lease=30), Refused)
    assert ledger.expire(JOB)
    entry = ledger.get(JOB)
    assert entry is not None
    assert (entry.state, entry.watch) == (JobState.EXPIRED, None)


def test_after_two_suspicions_a_job_runs_alone_and_a_lone_loss_is_a_crash(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.accept(new_job(clock))
    for number in (1, 2):
        claim = ledger.claim(JOB, token=f"t{number}", lease=30)
        assert isinstance(claim, Claimed)
        assert claim.entry.attempts == 1
        clock.now += 31
        suspected = ledger.suspect(claim.entry)
        assert suspected is not None
        assert (suspected.suspicions, suspected.crashes) == (number, 0)
    assert isinstance(ledger.claim(JOB, token="t3", lease=30), Refused)
    claim = ledger.claim(JOB, token="t3", lease=30, alone=True)
    assert isinstance(claim, Claimed)
    assert claim.entry.alone
    clock.now += 31
    crashed = ledger.suspect(claim.entry)
    assert crashed is not None
    assert (crashed.suspicions, crashed.crashes, crashed.alone) == (2, 1, False)
    again = ledger.claim(JOB, token="t4", lease=30, alone=True)
    assert isinstance(again, Claimed)
    assert again.entry.attempts == 2
