"""The same seed gives the same plan, and the plan holds all that it promises."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from chaos.plan import (
    FOREIGN,
    HEALTHY,
    LEASE,
    POISON,
    TARGETS,
    WORKERS,
    fault_of,
    make_plan,
    throttled,
)

TESTS = Path(__file__).parents[2]


def test_the_same_seed_gives_the_same_plan() -> None:
    random.seed(1)
    first = make_plan(5)
    random.seed(2)
    assert make_plan(5) == first
    assert make_plan(5).document() == first.document()


def test_another_process_prints_the_same_plan() -> None:
    def printed(hash_seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "chaos", "--plan", "--seed", "5", "--minutes", "2"],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": f"{TESTS}:{TESTS.parent}", "PYTHONHASHSEED": hash_seed},
        ).stdout

    assert printed("1") == printed("2")


def test_another_seed_gives_another_plan() -> None:
    one, two = make_plan(5), make_plan(6)
    assert one.events != two.events
    assert one.submissions != two.submissions


def test_every_role_is_killed_and_restarted_and_every_worker_paused_beyond_its_lease() -> None:
    for seed in range(30):
        events = make_plan(seed, minutes=5).events
        for verb, targets in (("kill", TARGETS), ("term", TARGETS), ("pause", WORKERS)):
            assert {e.target for e in events if e.verb == verb} >= set(targets)
        pauses = [e.seconds for e in events if e.verb == "pause" and e.target in WORKERS]
        assert min(pauses) > LEASE
        assert [e.seconds for e in events if e.verb == "cut"] == [20.0]
        assert [(e.target, e.seconds) for e in events if e.verb == "storm"] == [("dynamodb", 25.0)]
        assert [e.target for e in events if e.verb == "rotate"] == ["keys"]
        assert all(0 < e.at <= 5 * 60 for e in events)


def test_every_kind_is_submitted_and_each_poison_is_two_percent() -> None:
    kinds = Counter(one.kind for one in make_plan(3, minutes=5).submissions)
    assert sum(kinds.values()) == 5_000
    assert set(kinds) == {*HEALTHY, *POISON}
    assert {kinds[kind] for kind in POISON} == {100}


def test_fewer_jobs_can_be_asked_for_and_poison_left_out() -> None:
    plan = make_plan(3, jobs=40, poison=False, faults=False)
    assert len(plan.submissions) == 40
    assert not {one.kind for one in plan.submissions} & {*POISON, *FOREIGN}
    assert plan.events == ()


def test_one_aws_call_in_twenty_fails_in_each_of_five_ways() -> None:
    found = Counter(fault_of(9, number) for number in range(40_000))
    failing = {kind: number for kind, number in found.items() if kind is not None}
    assert set(failing) == {"500", "throttle", "reset", "lost", "delay"}
    assert sum(failing.values()) / 40_000 == pytest.approx(0.05, abs=0.005)
    assert min(failing.values()) > 300


def test_sixty_calls_of_a_hundred_are_throttled_in_a_storm() -> None:
    found = [throttled(9, number) for number in range(10_000)]
    assert sum(found) / 10_000 == pytest.approx(0.6, abs=0.02)
    assert found != [throttled(8, number) for number in range(10_000)]


def test_without_stewards_the_others_meet_the_same() -> None:
    with_, without = make_plan(4), make_plan(4, stewards=False)
    assert without.events == tuple(e for e in with_.events if not e.target.startswith("steward"))
    assert without.submissions == with_.submissions
