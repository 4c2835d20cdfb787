from __future__ import annotations

import pytest

from sealwax.deadletters import (
    Filter,
    NoSuchReplay,
    ReplayState,
    ReplayStateConflict,
    SelectionInvalid,
)


def test_a_plan_freezes_a_selection_and_counts_it(letters, message, put):
    put(*[message() for _ in range(3)], message(cause="http-404"))
    replay = letters.replays.plan(actor="me", filter=Filter(cause="http-400"), reason="mended")
    assert (replay.state, replay.expected, replay.at_most) == (ReplayState.PLANNED, 3, False)
    assert letters.replays.get(replay.id) == replay
    narrowed = letters.replays.plan(actor="me", filter=Filter(cause="http-400", since=1.0))
    assert narrowed.at_most
    (letter,) = put(message())
    assert letters.replays.plan(actor="me", ids=[letter.id, letter.id]).expected == 1


def test_a_repeated_click_makes_one_replay(letters):
    first = letters.replays.plan(actor="me", filter=Filter(), client_token="t")
    assert letters.replays.plan(actor="me", filter=Filter(), client_token="t") == first
    assert letters.replays.plan(actor="you", filter=Filter(), client_token="t") != first
    started = letters.replays.start(first.id, actor="me")
    assert letters.replays.start(first.id, actor="me") == started
    assert letters.replays.active() == (first.id,)


def test_states_follow_each_other_and_every_change_is_in_the_log(letters):
    replay = letters.replays.plan(actor="me", filter=Filter(), verb="discard", reason="old")
    for verb, state in (
        ("start", ReplayState.RUNNING),
        ("pause", ReplayState.PAUSED),
        ("resume", ReplayState.RUNNING),
        ("cancel", ReplayState.CANCELLED),
    ):
        assert getattr(letters.replays, verb)(replay.id, actor="me").state is state
    with pytest.raises(ReplayStateConflict):
        letters.replays.resume(replay.id, actor="me")
    assert letters.replays.cancel(replay.id, actor="me").state is ReplayState.CANCELLED
    lines, _ = letters.audit.page()
    assert [line.verb for line in reversed(lines)] == [
        "discard.plan", "discard.start", "discard.pause", "discard.resume", "discard.cancel",
    ]  # fmt: skip
    assert {(line.actor, line.reason) for line in lines} == {("me", "old")}


WRONG = [
    {},
    {"ids": ["x"]},
    {"ids": ["0" * 32 + ".0"], "filter": Filter()},
    {"ids": [f"{n:032x}.0" for n in range(501)]},
    {"filter": Filter(), "rate": 0},
    {"filter": Filter(), "canary": [0]},
    {"filter": Filter(), "verb": "discard"},
]


def test_a_wrong_selection_is_refused(letters):
    for wrong in WRONG:
        with pytest.raises(SelectionInvalid):
            letters.replays.plan(actor="me", **wrong)


def test_replays_are_listed_newest_first(letters):
    made = [letters.replays.plan(actor="me", filter=Filter()).id for _ in range(3)]
    page, after = letters.replays.list(limit=2)
    rest, end = letters.replays.list(after, limit=2)
    assert [each.id for each in page + rest] == sorted(made, reverse=True)
    assert end is None
    with pytest.raises(NoSuchReplay):
        letters.replays.get("x")
