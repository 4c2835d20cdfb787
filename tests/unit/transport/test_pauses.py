from __future__ import annotations

import gc

import pytest

from sealwax.transport.pauses import ConsumerPauses, postponement


class FakeIntake:
    def __init__(self) -> None:
        self.told: list[str] = []

    def held_changed(self, queue: str) -> None:
        self.told.append(queue)


def test_a_queue_is_held_until_its_last_reason_is_gone_and_intakes_hear_of_changes():
    holds, intake = ConsumerPauses(), FakeIntake()
    holds.join(intake)
    holds.hold("q", "paused")
    holds.hold("q", "paused")
    holds.hold("q", "draining")
    assert holds.reasons("q") == {"paused", "draining"}
    assert holds.reasons("other") == frozenset()
    assert intake.told == ["q", "q"]
    holds.release("q", "paused")
    holds.release("q", "paused")
    holds.release("other", "paused")
    assert holds.reasons("q") == {"draining"}
    assert intake.told == ["q"] * 3


def test_an_intake_that_is_gone_is_not_told():
    holds, intake = ConsumerPauses(), FakeIntake()
    holds.join(intake)
    del intake
    gc.collect()
    assert holds.intakes == []


def test_paused_tasks_stay_away_and_others_do_not():
    now = [1_000.0]
    holds = ConsumerPauses(clock=lambda: now[0])
    assert holds.paused("a") is None
    holds.set_tasks({"a": 900.0})
    assert holds.paused("a") == 15
    assert holds.paused("b") is None
    now[0] = 2_900.0
    assert holds.paused("a") == 200
    holds.set_tasks({})
    assert holds.paused("a") is None


@pytest.mark.parametrize(("paused_for", "away"), [(-5, 15), (0, 15), (600, 60), (1e6, 600)])
def test_the_longer_the_pause_the_longer_a_message_stays_away(paused_for, away):
    assert postponement(paused_for) == away


def test_a_message_is_received_less_than_a_thousand_times_in_four_days():
    at, receives = 0.0, 0
    while at < 4 * 86_400:
        at += postponement(at)
        receives += 1
    assert receives < 1_000
