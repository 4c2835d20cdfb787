"""An expiry is announced once its outcome is settled, and not before."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, signals

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

    def settle(self, token: str, outcome: Outcome, *, recorded: bool = True) -> None:
        self.settled.append(outcome)


def make_request(settler: Settler, on_expired: Any) -> Request:
    app = Celery("expired", set_as_current=False)
    base = type("Own", (Task,), {"abstract": True, "on_expired": on_expired})

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
