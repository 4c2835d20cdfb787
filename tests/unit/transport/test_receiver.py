"""Receives as SQS wants them: lost ones are asked for again, short ones keep their helpers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from sealwax.telemetry.counters import Counters
from sealwax.transport import receiver
from sealwax.transport.fifo import FifoGroups
from sealwax.transport.in_flight import InFlight
from sealwax.transport.receiver import ATTEMPT_SECONDS, HELPER_WAIT, Receivers

LOST = ReadTimeoutError(endpoint_url="https://sqs.test")
REFUSED = ClientError({"Error": {"Code": "RequestThrottled"}}, "ReceiveMessage")


class Queue:
    """Stands for SQS: keeps the parameters of each receive, and fails as it is told."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.errors: list[Exception | None] = []

    def receive_message(self, **parameters: Any) -> dict[str, Any]:
        self.asked.append(parameters)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        return {}


def receivers(name: str, *, lease: int = 30) -> tuple[Receivers, Queue]:
    queue = Queue()
    engine: Any = SimpleNamespace(
        polling=queue, url=lambda _: "https://sqs.test/1/q", options=SimpleNamespace(lease=lease)
    )
    nothing: Any = None
    made = Receivers(
        engine, name, nothing, nothing, nothing, arrived=lambda _: None, give_up=lambda _: None
    )
    return made, queue


def ids(made: Receivers, queue: Queue, *calls: tuple[Exception | None, int]) -> list[Any]:
    """Make receives of so many slots, each failing as said; return their attempts' ids."""
    for error, slots in calls:
        queue.errors = [error]
        if error is None:
            made._call(slots, 1)
        else:
            with pytest.raises(type(error)):
                made._call(slots, 1)
    return [each.get("ReceiveRequestAttemptId") for each in queue.asked]


def test_a_lost_answer_is_asked_for_again_and_others_are_new() -> None:
    found = ids(*receivers("q.fifo"), (None, 10), (LOST, 10), (LOST, 10), (None, 10), (None, 10))

    assert found[1] == found[2] == found[3]
    assert len(set(found)) == 3
    assert all(0 < len(each) <= 128 for each in found)


@pytest.mark.parametrize("name", ["q", "q.fifo-dlq"])
def test_a_standard_queue_knows_no_attempts(name: str) -> None:
    assert ids(*receivers(name), (LOST, 10), (None, 10)) == [None, None]


def test_what_sqs_has_answered_is_not_lost() -> None:
    first, second = ids(*receivers("q.fifo"), (REFUSED, 10), (None, 10))
    assert first != second


@pytest.mark.parametrize(("slots", "again"), [(9, False), (10, True)])
def test_what_it_may_bring_has_room(slots: int, again: bool) -> None:
    first, second = ids(*receivers("q.fifo"), (LOST, 10), (None, slots))
    assert (first == second) is again


@pytest.mark.parametrize(
    ("lease", "passed", "again"),
    [(30, 29, True), (30, 30, False), (600, ATTEMPT_SECONDS - 1, True), (600, 300, False)],
)
def test_what_it_may_bring_is_still_held(
    monkeypatch: pytest.MonkeyPatch, lease: int, passed: float, again: bool
) -> None:
    now = [1_000.0]
    monkeypatch.setattr(receiver.time, "monotonic", lambda: now[0])
    made, queue = receivers("q.fifo", lease=lease)
    ids(made, queue, (LOST, 10))
    now[0] += passed
    first, second = ids(made, queue, (None, 10))
    assert (first == second) is again


def goes_on(brought: list[int]) -> list[bool]:
    """Let a helper receive so many messages each time; return whether it goes on after each."""
    answers = iter(brought)

    def receive_message(**_: Any) -> dict[str, Any]:
        count = next(answers)
        return {"Messages": [{"ReceiptHandle": "r", "Attributes": {}}] * count}

    engine: Any = SimpleNamespace(
        polling=SimpleNamespace(receive_message=receive_message),
        url=lambda _: "https://sqs.test/1/q",
        options=SimpleNamespace(lease=30),
        counters=Counters(),
    )
    liveness: Any = SimpleNamespace(succeeded=lambda _: None)
    made = Receivers(
        engine,
        "q",
        InFlight(),
        FifoGroups(),
        liveness,
        arrived=lambda _: None,
        give_up=lambda _: None,
    )
    return [made._receive(HELPER_WAIT, helper=True) for _ in brought]


def test_helpers_stay_while_receives_are_short_now_and_then() -> None:
    brought = [short for _ in range(30) for short in (9, 1, 6, 10, 2, 7, 3)]

    assert all(goes_on(brought)[40:])


@pytest.mark.parametrize("few", [1, 2, 3])
def test_helpers_leave_where_receives_bring_few(few: int) -> None:
    found = goes_on([10] * 40 + [few] * 40)

    assert all(found[:40])
    assert not any(found[60:])


def test_helpers_leave_a_queue_that_is_empty_at_once() -> None:
    assert goes_on([10] * 40 + [0, 10]) == [True] * 40 + [False, True]
