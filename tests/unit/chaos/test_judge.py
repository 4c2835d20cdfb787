"""Each count of the judge turns red when it is fed what it must not pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from chaos.judge import (
    Accepted,
    Attempt,
    Effect,
    Ended,
    Foreign,
    Letter,
    Observed,
    Span,
    judge,
    overlaps,
    table,
)


def good() -> Observed:
    """Return a run as it should be."""
    return Observed(
        accepted=[
            Accepted(job="h1", kind="relay", expect=None, key="k1"),
            Accepted(job="h2", kind="relay", expect=None, key="k2"),
            Accepted(job="p1", kind="crash", expect="crashed", key="k3"),
        ],
        foreign=[Foreign(kind="garbage", expect="malformed", body="junk")],
        ended={
            "h1": Ended(state="succeeded", finished=101.0),
            "h2": Ended(state="succeeded", finished=150.0),
            "p1": Ended(state="dead", reason="crashed", finished=120.0),
        },
        effects=[Effect(job="h1", at=100.5), Effect(job="h2", at=149.0)],
        attempts=[
            Attempt(job="h1", number=1, start=100.0, end=100.9, process="worker-a.1"),
            # Paused, its lease lost, run again elsewhere.
            Attempt(job="h2", number=1, start=110.0, end=151.0, process="worker-a.1"),
            Attempt(job="h2", number=2, start=140.0, end=149.5, process="worker-b.1"),
        ],
        letters=[
            Letter(reason="crashed", job="p1", body="own"),
            Letter(reason="malformed", job=None, body="junk"),
        ],
        spans=[Span(what="pause", process="worker-a.1", begun=112.0, ended=139.0)],
        left={"default": 0},
        lease=12.0,
    )


def failed(seen: Observed) -> set[str]:
    return {one.name for one in judge(seen) if not one.passed}


def test_a_run_as_it_should_be_passes() -> None:
    assert failed(good()) == set()
    assert "FAILED" not in table(judge(good()))


def with_state(job: str, end: Ended | None) -> Callable[[Observed], None]:
    def change(seen: Observed) -> None:
        ended = dict(seen.ended)
        if end is None:
            del ended[job]
        else:
            ended[job] = end
        seen.ended = ended

    return change


def without_effect(seen: Observed) -> None:
    seen.effects = seen.effects[1:]


def begun_late(seen: Observed) -> None:
    late = Attempt(job="h1", number=2, start=130.0, end=131.0, process="worker-b.1")
    seen.attempts.append(late)


def begun_early(seen: Observed) -> None:
    seen.accepted[0] = replace(seen.accepted[0], not_before=100.2)


def letter_of_a_healthy_job(seen: Observed) -> None:
    seen.letters.append(Letter(reason="rejected", job="h1", body="its own"))


def without_letter(seen: Observed) -> None:
    seen.letters = seen.letters[1:]


def foreign_without_letter(seen: Observed) -> None:
    seen.letters = seen.letters[:1]


def foreign_with_another_reason(seen: Observed) -> None:
    seen.letters[1] = replace(seen.letters[1], reason="unknown-task")


def one_letter_for_two_messages(seen: Observed) -> None:
    seen.foreign.append(seen.foreign[0])


def overlap_without_pause(seen: Observed) -> None:
    seen.spans = []


def overlap_inside_a_lease(seen: Observed) -> None:
    seen.attempts[2] = replace(seen.attempts[2], start=119.0)


def two_jobs_for_a_key(seen: Observed) -> None:
    seen.accepted[1] = replace(seen.accepted[1], key="k1")


ACCEPTED = "accepted jobs without an end"
DEAD = "healthy jobs dead or in a dead-letter queue"
POISON = "poison not dead with the right reason"


VIOLATIONS: list[tuple[Callable[[Observed], None], str]] = [
    (with_state("h1", None), ACCEPTED),
    (with_state("h1", Ended(state="accepted")), ACCEPTED),
    (with_state("h1", Ended(state="running")), ACCEPTED),
    (with_state("h1", Ended(state="retrying")), ACCEPTED),
    (with_state("h1", Ended(state="abandoned")), ACCEPTED),
    (without_effect, "succeeded jobs without an effect"),
    (begun_late, "attempts begun after recorded success"),
    (begun_early, "attempts begun before their time"),
    (with_state("h1", Ended(state="dead", reason="exhausted")), DEAD),
    (with_state("h1", Ended(state="cancelled")), DEAD),
    (with_state("h1", Ended(state="expired")), DEAD),
    (letter_of_a_healthy_job, DEAD),
    (with_state("p1", Ended(state="dead", reason="exhausted")), POISON),
    (with_state("p1", Ended(state="succeeded")), POISON),
    (with_state("p1", None), POISON),
    (foreign_without_letter, POISON),
    (foreign_with_another_reason, POISON),
    (one_letter_for_two_messages, POISON),
    (without_letter, "dead jobs without a letter"),
    (lambda seen: seen.canaries.append("log"), "sightings of the canary"),
    (lambda seen: seen.stopped.append("worker-a.1"), "processes that stopped by themselves"),
    (lambda seen: setattr(seen, "left", {"default": 1}), "messages left"),
    (overlap_without_pause, "overlapping attempts without a lost lease"),
    (overlap_inside_a_lease, "overlapping attempts without a lost lease"),
    (two_jobs_for_a_key, "keys that were given two jobs"),
]


@pytest.mark.parametrize(("change", "count"), VIOLATIONS)
def test_each_violation_is_counted(change: Callable[[Observed], None], count: str) -> None:
    seen = good()
    change(seen)
    assert count in failed(seen)
    assert "FAILED" in table(judge(seen))


def test_every_count_has_a_violation_that_turns_it_red() -> None:
    assert {count for _, count in VIOLATIONS} == {one.name for one in judge(good())}


def test_one_stray_of_the_archive_answers_for_all_copies_of_its_body() -> None:
    seen = good()
    one_letter_for_two_messages(seen)
    seen.letters[1] = replace(seen.letters[1], place="archive")
    assert failed(seen) == set()
    foreign_with_another_reason(seen)
    assert failed(seen) == {POISON}


def test_a_start_after_success_is_excused_where_its_process_was_paused_meanwhile() -> None:
    seen = good()
    begun_late(seen)
    seen.spans.append(Span(what="pause", process="worker-b.1", begun=100.0, ended=129.9))
    assert "attempts begun after recorded success" not in failed(seen)


def test_overlaps_name_their_cause() -> None:
    (one,) = overlaps(good())
    assert one.cause == "lease lost: pause of worker-a.1 for 27.0 s"
    assert (one.first.number, one.second.number) == (1, 2)


def test_a_killed_attempt_ends_when_the_suite_killed_it() -> None:
    seen = good()
    seen.attempts[1] = replace(seen.attempts[1], end=None, pid=7)
    seen.spans = [Span(what="death", process="worker-a.1", begun=115.0, ended=115.0)]
    assert overlaps(seen) == []
    seen.spans = [Span(what="death", process="worker-a.1/7", begun=145.0, ended=145.0)]
    assert len(overlaps(seen)) == 1
