from __future__ import annotations

import gc

import pytest

from sealwax.transport.pauses import ConsumerPauses, postponement


class FakeConsumer:
    def __init__(self) -> None:
        self.notified: list[str] = []

    def pauses_changed(self, queue: str) -> None:
        self.notified.append(queue)


def test_a_queue_is_paused_until_its_last_reason_is_gone_and_consumers_hear_of_changes():
    pauses, consumer = ConsumerPauses(), FakeConsumer()
    pauses.register(consumer)
    pauses.pause("q", "paused")
    pauses.pause("q", "paused")
    pauses.pause("q", "draining")
    assert pauses.reasons("q") == {"paused", "draining"}
    assert pauses.reasons("other") == frozenset()
    assert consumer.notified == ["q", "q"]
    pauses.resume("q", "paused")
    pauses.resume("q", "paused")
    pauses.resume("other", "paused")
    assert pauses.reasons("q") == {"draining"}
    assert consumer.notified == ["q"] * 3


def test_a_consumer_that_is_gone_is_not_notified():
    pauses, consumer = ConsumerPauses(), FakeConsumer()
    pauses.register(consumer)
    del consumer
    gc.collect()
    assert pauses.consumers == []


def test_paused_tasks_stay_away_and_others_do_not():
    now = [1_000.0]
    pauses = ConsumerPauses(clock=lambda: now[0])
    assert pauses.task_delay("a") is None
    pauses.set_tasks({"a": 900.0})
    assert pauses.task_delay("a") == 15
    assert pauses.task_delay("b") is None
    now[0] = 2_900.0
    assert pauses.task_delay("a") == 200
    pauses.set_tasks({})
    assert pauses.task_delay("a") is None


@pytest.mark.parametrize(("paused_for", "away"), [(-5, 15), (0, 15), (600, 60), (1e6, 600)])
def test_the_longer_the_pause_the_longer_a_message_stays_away(paused_for, away):
    assert postponement(paused_for) == away


def test_a_message_is_received_less_than_a_thousand_times_in_four_days():
    at, receives = 0.0, 0
    while at < 4 * 86_400:
        at += postponement(at)
        receives += 1
    assert receives < 1_000
