import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.streams.backlog import Backlog, StreamLimits
from sealwax.streams.records import StreamRecord


def limits(**more):
    return StreamLimits.model_validate(more)


def stream(keys):
    """Return records of these keys in order, with sequence numbers from 100 on."""
    made, before = [], ""
    for number, key in enumerate(keys):
        sequence = str(100 + 7 * number)
        made.append(
            (
                key,
                StreamRecord(
                    keys={},
                    item={},
                    created=float(number),
                    size=10,
                    sequence=sequence,
                    before=before,
                ),
            )
        )
        before = sequence
    return made


def filled(keys, **more):
    backlog = Backlog(limits(**more))
    for key, record in stream(keys):
        backlog.add(key, record)
    return backlog


def names(backlog, now=0.0):
    return [name for name, _ in backlog.batch(now)]


def test_one_record_a_key_is_delivered_at_a_time():
    backlog = filled("aabca")
    assert names(backlog) == ["a", "b", "c"]
    backlog.settle("a")
    assert names(backlog) == ["b", "c", "a"], "keys take turns"


def test_a_batch_has_its_limit():
    assert names(filled("abcd", batch=2)) == ["a", "b"]


def test_the_checkpoint_stays_before_what_is_not_delivered():
    backlog = filled("abc")
    assert backlog.checkpoint() == ("", {})
    backlog.settle("a")
    assert backlog.checkpoint() == ("100", {})
    backlog.settle("c")
    assert backlog.checkpoint() == ("100", {})
    backlog.settle("b")
    assert backlog.checkpoint() == ("114", {})
    assert backlog.empty


def test_the_checkpoint_passes_a_held_key_and_names_it():
    backlog = filled("abac")
    backlog.fail("a", 0.0)
    backlog.settle("b")
    backlog.settle("c")
    assert backlog.checkpoint() == ("121", {"a": ""})
    backlog.settle("a")
    assert backlog.checkpoint() == ("107", {}), "its next one has not failed"


def test_a_failed_record_is_tried_again_later_and_its_key_waits_for_it():
    backlog = filled("aab", first_wait=1.0, longest_wait=4.0)
    assert not backlog.fail("a", 0.0)
    assert names(backlog, 0.9) == ["b"]
    assert names(backlog, 1.0) == ["a", "b"]
    assert backlog.next_ready() == 0.0
    backlog.settle("b")
    assert backlog.next_ready() == 1.0


def test_a_budget_is_used_up_at_its_end_and_not_before():
    backlog = filled("a", budget=10.0, first_wait=4.0, longest_wait=4.0)
    assert not backlog.fail("a", 0.0)
    assert not backlog.fail("a", 4.0)
    assert not backlog.fail("a", 8.0)
    assert backlog.next_ready() == 10.0, "the last try is at the end of the budget"
    assert backlog.fail("a", 10.0)


def test_a_wait_is_not_charged():
    backlog = filled("a", budget=1.0)
    for at in range(100):
        backlog.wait("a", at + 1.0)
        assert names(backlog, at + 0.5) == []
        assert names(backlog, at + 1.0) == ["a"]
    assert not backlog.fail("a", 200.0)


def test_a_key_of_too_many_is_spilled_and_the_others_are_not():
    backlog = filled("aaaabb", of_key=2)
    assert backlog.spilled == {"a": "107"}
    backlog.settle("b")
    backlog.settle("b")
    assert backlog.checkpoint() == ("135", {"a": ""})


def again(backlog, keys):
    """Read once more what was spilled."""
    after = int(backlog.begin_pass() or 0)
    for key, record in stream(keys):
        if record.place > after:
            backlog.add_again(key, record)
    backlog.end_pass()


def test_what_was_spilled_is_read_again_in_order():
    keys = "aaaaab"
    backlog = filled(keys, of_key=2)
    seen = []
    for _ in range(20):
        if backlog.wants_pass():
            again(backlog, keys)
        for name, record in backlog.batch(0.0):
            seen.append((name, record.sequence))
            backlog.settle(name)
    assert [sequence for name, sequence in seen if name == "a"] == [
        "100",
        "107",
        "114",
        "121",
        "128",
    ]
    assert backlog.empty
    assert backlog.checkpoint() == ("135", {})


def test_none_behind_what_does_not_fit_is_taken_in_a_pass():
    keys = "aaaa"
    backlog = Backlog(limits(of_key=1), position="121", held={"a": ""})
    backlog.begin_pass()
    (_, first), (_, second), (_, third), _ = stream(keys)
    backlog.add_again("a", first)
    backlog.add_again("a", second)
    backlog.settle("a")
    backlog.add_again("a", third)
    backlog.end_pass()
    assert backlog.spilled == {"a": "100"}


@pytest.mark.parametrize(
    ("more", "keys"),
    [({"records": 3}, "abc"), ({"keys": 2}, "ab"), ({"bytes": 400_000}, "a")],
)
def test_no_more_is_read_than_there_is_room_for(more, keys):
    backlog = Backlog(limits(**more))
    for key, record in stream(keys[:-1]):
        backlog.add(key, record)
        backlog.fail(key, 0.0)
    assert backlog.room
    key, record = stream(keys)[-1]
    if "bytes" in more:
        record = StreamRecord(**{**vars(record), "size": 400_000})
    backlog.add(key, record)
    backlog.fail(key, 0.0)
    assert not backlog.room


def read_again(backlog, told):
    after, end = int(backlog.begin_pass() or 0), int(backlog.position or 0)
    for key, record in told:
        if after < record.place <= end:
            backlog.add_again(key, record)
    backlog.end_pass()


def deliver(backlog, now, rng):
    """Deliver some of what is ready; return what was taken."""
    taken = []
    for name, record in backlog.batch(now)[: rng.randrange(1, 3)]:
        if rng.random() < 0.4:
            backlog.fail(name, now)
        else:
            taken.append((name, record.sequence))
            backlog.settle(name)
    return taken


@given(
    keys=st.lists(st.sampled_from("abcde"), max_size=60),
    seed=st.integers(0, 1_000_000),
    of_key=st.integers(1, 4),
)
def test_each_key_is_delivered_in_order_whatever_fails_and_however_often_readers_die(
    keys, seed, of_key
):
    """First deliveries of each key are in order and complete; those after a crash may repeat."""
    rng = random.Random(seed)
    told = stream(keys)
    bounds = limits(of_key=of_key, budget=1e9)
    saved: tuple[str, dict[str, str]] = ("", {})
    taken: list[tuple[str, str]] = []
    now = 0.0
    backlog, unread = Backlog(bounds), list(told)
    for _ in range(5_000):
        chance = rng.random()
        if not unread and backlog.empty:
            break
        if chance < 0.02:
            # Killed: another goes on from the checkpoint.
            backlog = Backlog(bounds, position=saved[0], held=saved[1])
            unread = [each for each in told if each[1].place > int(saved[0] or 0)]
        elif chance < 0.3 and unread:
            backlog.add(*unread.pop(0))
        elif chance < 0.4 and backlog.wants_pass():
            read_again(backlog, told)
        elif chance < 0.5:
            saved = backlog.checkpoint()
        else:
            now += 10.0
            taken += deliver(backlog, now, rng)
    first = list(dict.fromkeys(taken))
    assert not unread
    assert backlog.empty
    for key in set(keys):
        wanted = [record.sequence for name, record in told if name == key]
        assert [sequence for name, sequence in first if name == key] == wanted
    assert backlog.checkpoint() == (told[-1][1].sequence if told else "", {})
