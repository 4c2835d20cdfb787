from __future__ import annotations

import pytest

from sealwax.deadletters import Replay, ReplayState


def replay(**values) -> Replay:
    base = {"id": "r", "verb": "replay", "state": ReplayState.RUNNING, "actor": "me"}
    return Replay(**base, created=0, cutoff=0, expected=1000, **values)


@pytest.mark.parametrize(
    ("sent", "succeeded", "allowance", "step"),
    [
        (0, 0, 1, 0),
        (1, 0, 0, 0),
        (1, 1, 10, 1),
        (4, 1, 7, 1),  # in the middle of a step, after a restart
        (11, 10, 0, 1),
        (11, 11, 100, 2),
        (111, 110, 0, 2),
        (111, 111, None, 3),
        (500, 111, None, 3),
    ],
)
def test_each_step_waits_for_the_outcomes_of_the_one_before(sent, succeeded, allowance, step):
    found = replay(sent=sent, succeeded=succeeded)
    assert (found.allowance, found.step) == (allowance, step)


@pytest.mark.parametrize(
    ("sent", "died", "stops"),
    [(0, 0, False), (1, 1, True), (11, 1, True), (111, 5, False), (111, 6, True), (1000, 51, True)],
)
def test_it_stops_when_more_die_again_than_it_tolerates(sent, died, stops):
    assert replay(sent=sent, died=died).dies_again is stops


def test_without_canary_steps_all_may_go_at_once():
    assert replay(canary=()).allowance is None
