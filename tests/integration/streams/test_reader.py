"""A reader of Streams among shards that split, close and are forgotten."""

import random
import time

import pytest

from sealwax.streams import Failed, Poison


def test_what_is_inserted_arrives_in_order(scene):
    scene.start()
    for number in range(300):
        scene.put(f"key-{number % 7}")
    scene.wait(scene.all_arrived)
    assert scene.in_order()
    assert sum(map(len, scene.sandbox.arrived.values())) == 300, "nothing came twice"


def test_changes_and_deletions_are_not_delivered(scene):
    scene.start()
    for event in ("MODIFY", "REMOVE"):
        scene.streams.tell("a", event)
    scene.put("a")
    scene.wait(scene.all_arrived)
    assert scene.sandbox.arrived == {"a": [0]}


def test_children_are_read_after_their_parents_end(scene):
    scene.start()
    for number in range(200):
        scene.put(f"key-{number % 9}")
        if number % 60 == 30:
            scene.streams.split()
        if number % 60 == 50:
            scene.streams.roll()
    scene.wait(scene.all_arrived)
    assert scene.in_order()


def test_a_failing_key_holds_back_its_own_successors_only(scene):
    healed: list[bool] = []
    scene.sandbox.behaviour = lambda key, number: (
        Failed("refused") if key == "bad" and not healed else None
    )
    scene.start(budget=1_000.0)
    for number in range(200):
        scene.put("bad" if number % 10 == 0 else f"key-{number % 7}")
    scene.wait(lambda: all(len(scene.sandbox.arrived[f"key-{n}"]) for n in range(1, 7)))
    scene.wait(lambda: sum(map(len, scene.sandbox.arrived.values())) == 180)
    assert scene.sandbox.arrived["bad"] == []
    healed.append(True)
    scene.wait(scene.all_arrived)
    assert scene.in_order()


@pytest.mark.parametrize("outcome", [Failed("refused"), Poison("unreadable"), ValueError("x")])
def test_poison_at_the_head_is_set_aside_and_its_key_goes_on(scene, outcome):
    def behaviour(key, number):
        if (key, number) == ("a", 0):
            if isinstance(outcome, Exception):
                raise outcome
            return outcome
        return None

    scene.sandbox.behaviour = behaviour
    scene.start()
    for _ in range(5):
        scene.put("a")
        scene.put("b")
    scene.wait(scene.all_arrived)
    assert scene.sandbox.arrived["a"] == [1, 2, 3, 4]
    assert scene.sandbox.arrived["b"] == [0, 1, 2, 3, 4]
    reason = {Failed: "refused", Poison: "unreadable"}.get(type(outcome), "ValueError")
    assert scene.sandbox.aside == [("a", 0, reason)]


def test_a_record_that_nobody_can_read_is_set_aside(scene):
    scene.start()
    scene.put("a")
    shard = scene.streams.open_shards()[0]
    scene.streams.put_raw(shard, {"eventName": "INSERT", "dynamodb": {"Keys": {"pk": {"S": "x"}}}})
    scene.put("a")
    scene.wait(lambda: scene.all_arrived() and bool(scene.sandbox.aside))
    assert [reason for *_, reason in scene.sandbox.aside] == ["malformed"]
    assert scene.sandbox.arrived["a"] == [0, 1]


@pytest.mark.long
def test_one_key_with_thousands_waiting_leaves_the_others_alone(scene):
    open_again: list[bool] = []
    scene.sandbox.behaviour = lambda key, number: (
        Failed("full") if key == "hot" and not open_again else None
    )
    scene.start(budget=1_000.0, of_key=50)
    for number in range(3_000):
        scene.put("hot")
        if number % 30 == 0:
            scene.put(f"key-{number % 9}")
    others = sum(count for key, count in scene.numbers.items() if key != "hot")
    scene.wait(lambda: sum(map(len, scene.sandbox.arrived.values())) >= others)
    assert not scene.sandbox.arrived["hot"]
    open_again.append(True)
    scene.wait(scene.all_arrived)
    assert scene.in_order()


def test_a_reader_that_begins_anew_goes_on_from_the_checkpoint(scene):
    first = scene.start()
    for _ in range(50):
        scene.put("a")
    scene.wait(scene.all_arrived)
    scene.stop(first)
    for _ in range(50):
        scene.put("a")
    scene.start()
    scene.wait(scene.all_arrived)
    assert scene.sandbox.arrived["a"] == list(range(100)), "nothing twice, nothing lost"


def test_a_held_key_is_remembered_by_whoever_reads_next(scene):
    healed: list[bool] = []
    scene.sandbox.behaviour = lambda key, number: (
        Failed("refused") if key == "bad" and not healed else None
    )
    first = scene.start(budget=1_000.0)
    for _ in range(20):
        scene.put("bad")
        scene.put("good")
    scene.wait(lambda: len(scene.sandbox.arrived["good"]) == 20)
    scene.stop(first)
    healed.append(True)
    scene.start()
    scene.wait(scene.all_arrived)
    assert scene.in_order()
    assert len(scene.sandbox.arrived["good"]) == 20, "what the checkpoint passed comes once"


@pytest.mark.parametrize("scene", [{"shards": 4}], indirect=True)
def test_two_readers_share_the_shards_and_take_over(scene):
    first, second = scene.start(), scene.start()
    scene.wait(lambda: len(first.status()) == 2 and len(second.status()) == 2)
    for number in range(200):
        scene.put(f"key-{number % 11}")
    scene.wait(scene.all_arrived)
    scene.stop(first)
    scene.wait(lambda: len(second.status()) == 4)
    for number in range(200):
        scene.put(f"key-{number % 11}")
    scene.wait(scene.all_arrived)
    assert scene.in_order()


def test_what_the_stream_has_forgotten_is_found_in_the_table(scene):
    first = scene.start()
    for _ in range(20):
        scene.put("a")
    scene.wait(scene.all_arrived)
    scene.stop(first)
    for _ in range(30):
        scene.put("a")
        scene.put("b")
    scene.streams.roll()
    scene.put("a")
    scene.streams.trim()
    for _ in range(10):
        scene.put("a")
    scene.start()
    scene.wait(scene.all_arrived)
    assert scene.in_order()
    assert scene.sandbox.recoveries >= 1


def test_a_stream_that_was_off_and_on_is_another_one(scene):
    first = scene.start()
    scene.put("a")
    scene.wait(scene.all_arrived)
    scene.stop(first)
    for _ in range(10):
        scene.put("a")
    scene.streams.enable()
    for _ in range(10):
        scene.put("a")
    scene.start()
    scene.wait(scene.all_arrived)
    assert scene.in_order()


def test_a_stream_that_is_replaced_while_it_is_read(scene):
    scene.start()
    for round_ in range(3):
        for number in range(40):
            scene.put(f"key-{number % 5}")
        if round_ < 2:
            scene.streams.enable()
    scene.wait(scene.all_arrived)
    assert scene.in_order()


@pytest.mark.parametrize("fault", ["throttled", "empty", "lost", "broken"])
def test_trouble_with_the_service_loses_nothing(scene, fault):
    setattr(scene.streams.faults, fault, 0.3)
    scene.start()
    for number in range(120):
        scene.put(f"key-{number % 5}")
        if number == 60:
            scene.streams.split()
        if number % 40 == 20:
            scene.streams.expire()
    scene.wait(scene.all_arrived)
    assert scene.in_order()


def test_an_idle_shard_is_asked_once_a_second(scene):
    scene.start(idle=1.0)
    scene.wait(lambda: scene.streams.calls["GetRecords"] >= 1)
    began, before = time.monotonic(), scene.streams.calls["GetRecords"]
    scene.wait(lambda: scene.streams.calls["GetRecords"] - before >= 3)
    assert time.monotonic() - began >= 2.0


@pytest.mark.parametrize("scene", [{"shards": 2}], indirect=True)
def test_readers_that_come_and_go_while_shards_split(scene):
    rng = random.Random(7)
    readers = [scene.start(), scene.start()]
    for number in range(1_000):
        scene.put(f"key-{rng.randrange(20)}")
        if number % 125 == 60:
            scene.streams.split() if number % 250 == 60 else scene.streams.roll()
        if number % 200 == 100:
            scene.stop(readers.pop(0))
            readers.append(scene.start())
    scene.wait(scene.all_arrived, seconds=120)
    assert scene.in_order()
