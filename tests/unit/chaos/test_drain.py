"""A run has drained when nothing is left, dead-letter queues included, twice in succession."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from chaos.drain import Drain


class Places:
    """Plays readings: (in the queue of work, in the dead-letter queue, in the archive)."""

    def __init__(self, *readings: tuple[int, int, int]) -> None:
        self._readings = list(readings)
        self._now = readings[0]

    def left(self, *, dead: bool) -> dict[str, int]:
        self._now = self._readings.pop(0) if self._readings else self._now
        return {"q": self._now[0]} | ({"q-dlq": self._now[1]} if dead else {})

    def archived(self) -> list[Any]:
        return [None] * self._now[2]


def looks_until_done(places: Places, *, stewards: bool, state: str = "succeeded") -> int:
    drain = Drain(places, stewards=stewards)
    for number in range(1, 10):
        drain.look(lambda: {"one": SimpleNamespace(state=state)})
        if drain.done:
            return number
    return 0


@pytest.mark.parametrize(
    ("readings", "stewards", "looks"),
    [
        ([(0, 0, 0)], True, 2),
        # Letters on their way: none is in the archive yet, some are.
        ([(0, 3, 0), (0, 3, 0), (0, 0, 3)], True, 4),
        ([(0, 3, 1), (0, 0, 4)], True, 3),
        ([(0, 3, 1), (0, 2, 2), (0, 0, 4)], False, 4),
        # A message between two readings, or one that comes again.
        ([(0, 0, 0), (0, 1, 0), (0, 0, 1)], True, 4),
        ([(0, 0, 0), (1, 0, 0), (0, 0, 0)], True, 4),
        # Nobody empties them.
        ([(0, 7, 0)], False, 2),
        ([(0, 7, 0)], True, 0),
    ],
)
def test_a_run_has_drained_when_two_readings_found_nothing(
    readings: list[tuple[int, int, int]], stewards: bool, looks: int
) -> None:
    assert looks_until_done(Places(*readings), stewards=stewards) == looks


@pytest.mark.parametrize("state", ["accepted", "running", "retrying"])
def test_an_open_job_keeps_a_run_from_having_drained(state: str) -> None:
    assert looks_until_done(Places((0, 0, 0)), stewards=True, state=state) == 0
