"""What a request announces: an expiry once it is settled, and failures that no child could tell."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, signals
from celery.exceptions import Reject, TimeLimitExceeded, WorkerLostError

from sealwax.outcomes import Ack, DeadLetter, Outcome, Reason, Retry
from sealwax.transport import Task
from sealwax.transport.celery.request import HOOK_GIVES_UP, Request
from sealwax.transport.message import Message


class Settler:
    """Notes what it is to settle."""

    def __init__(self) -> None:
        self.settled: list[Outcome] = []
        self.engine = SimpleNamespace(background=SimpleNamespace(run=self.run))

    def run(self, work: Any, *args: Any, delay: float = 0.0) -> None:
        work(*args)

    def settle(self, token: str, outcome: Outcome, **_: Any) -> None:
        self.settled.append(outcome)


def make_request(settler: Settler, on_expired: Any = None, **members: Any) -> Request:
    app = Celery("expired", backend="cache+memory://", set_as_current=False)
    if on_expired is not None:
        members["on_expired"] = on_expired
    base = type("Own", (Task,), {"abstract": True, **members})

    @app.task(name="one", base=base, shared=False)
    def one() -> None:
        pass

    message = Message(
        body=b"[[], {}, {}]",
        delivery_tag="token",
        content_type="application/json",
        content_encoding="utf-8",
        headers={"id": "job", "task": "one", "expires": "2020-01-01T00:00:00+00:00"},
        channel=SimpleNamespace(settler=settler, no_ack_consumers=()),
    )
    return Request(
        message, app=app, task=app.tasks["one"], headers=message.headers, body=message.body
    )


@pytest.fixture
def announced() -> Iterator[list[dict[str, Any]]]:
    found: list[dict[str, Any]] = []

    def note(sender: Any, request: Any, signal: Any, **facts: Any) -> None:
        found.append({"task": sender.name, "id": request.id, **facts})

    signals.task_revoked.connect(note)
    yield found
    signals.task_revoked.disconnect(note)


LETTER = DeadLetter(reason=Reason.REJECTED, job="job")


@pytest.mark.parametrize("outcome", [Ack(), LETTER])
def test_an_expiry_is_announced_with_stock_celerys_facts(
    announced: list[dict[str, Any]], outcome: Outcome
) -> None:
    settler = Settler()
    make_request(settler, lambda self, request: outcome).expire()
    assert settler.settled == [outcome]
    assert announced == [
        {"task": "one", "id": "job", "terminated": False, "signum": None, "expired": True}
    ]


def test_an_expiry_that_its_task_postpones_is_not_announced(
    announced: list[dict[str, Any]],
) -> None:
    settler = Settler()
    make_request(settler, lambda self, request: Retry(5)).expire()
    assert settler.settled == [Retry(5)]
    assert announced == []


@pytest.mark.parametrize("error", [ConnectionError("no"), ValueError(), KeyError("x")])
def test_an_expiry_that_was_not_recorded_is_not_announced(
    announced: list[dict[str, Any]], error: Exception
) -> None:
    def on_expired(self: Any, request: Any) -> Outcome:
        raise error

    settler = Settler()
    make_request(settler, on_expired).expire()
    assert settler.settled == [Retry(HOOK_GIVES_UP)]
    assert announced == []


def test_a_failure_that_no_child_could_tell_is_told() -> None:
    told: list[tuple[str, str, Any]] = []
    hooked: list[str] = []

    def note(sender: Any, task_id: str, exception: Any, einfo: Any, **facts: Any) -> None:
        assert facts["args"] == []
        assert facts["kwargs"] == {}
        assert facts["traceback"] is not None
        told.append((task_id, type(exception).__name__, einfo.exception))

    def on_failure(self: Any, exc: Any, *_: Any) -> None:
        hooked.append(type(exc).__name__)
        raise OSError("a hook's own")

    errors = [
        Reject("why"), TimeLimitExceeded(5), WorkerLostError("signal 9"), MemoryError(),
        ValueError("why"), SystemExit(1),
    ]  # fmt: skip
    signals.task_failure.connect(note)
    try:
        for error in errors:
            request = make_request(Settler(), on_failure=on_failure)
            request._store_failure(error)
            assert request.task.backend.get_state("job") == "FAILURE"
    finally:
        signals.task_failure.disconnect(note)
    assert [name for _, name, _ in told] == [type(error).__name__ for error in errors]
    assert {job for job, _, _ in told} == {"job"}
    # Celery calls this hook for time limits alone: for others the child does, or nobody.
    assert hooked == ["TimeLimitExceeded"]
