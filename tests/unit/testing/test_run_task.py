"""The shipped test helper, and the attempt's outcomes through it."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from sealwax.errors import SealwaxError
from sealwax.job import Job
from sealwax.outcomes import Rejected, Transient
from sealwax.retry import RetryPolicy
from sealwax.settings import load_settings
from sealwax.task_definition import task
from sealwax.testing import run_task


class Payload(BaseModel):
    how: str
    data: object = None


@task(
    name="test.behave",
    contract=Payload,
    retry=RetryPolicy(attempts=3, base=4, jitter=False),
    secrets=lambda _: ["app/key"],
)
def behave(payload: Payload, job: Job):
    if payload.how == "echo":
        return {"data": payload.data, "attempt": job.attempt, "key": job.secret("app/key")}
    if payload.how == "later" and job.attempt == 1:
        raise Transient("asleep", retry_after=9)
    if payload.how == "reject":
        raise Rejected("no-such-thing")
    if payload.how == "bug":
        raise KeyError("private")
    if payload.how == "exit":
        raise SystemExit(3)
    if payload.how == "undeclared":
        job.secret("app/other")
    if payload.how == "huge":
        return "x" * 70_000
    if payload.how == "odd":
        return object()
    return None


def run(how: str, attempts: int = 1, **more):
    return run_task(behave, {"how": how, **more}, secrets={"app/key": "k"}, attempts=attempts)


@pytest.mark.parametrize("data", [None, 0, -1.5, "ü漢🦭", [1, {"a": []}], 10**40, {"": None}])
def test_a_result_comes_back_as_its_caller_would_read_it(data) -> None:
    outcome = run("echo", data=data)
    assert outcome.state == "succeeded"
    assert outcome.result == {"data": data, "attempt": 1, "key": "k"}


def test_a_transient_failure_is_tried_again_not_before_the_downstream_asked() -> None:
    first = run("later")
    assert (first.state, first.cause, first.delays) == ("retrying", "asleep", (9.0,))
    again = run("later", attempts=2)
    assert (again.state, again.attempts) == ("succeeded", 2)


def test_a_rejected_job_is_dead_at_once() -> None:
    outcome = run("reject", attempts=3)
    assert (outcome.state, outcome.reason, outcome.cause, outcome.attempts) == (
        "dead",
        "rejected",
        "no-such-thing",
        1,
    )


@pytest.mark.parametrize(
    ("how", "error"),
    [("bug", "KeyError"), ("exit", "SystemExit"), ("undeclared", "SecretNotDeclared")],
)
def test_what_a_task_raises_unasked_is_tried_again_then_exhausted(how: str, error: str) -> None:
    outcome = run(how, attempts=5)
    assert (outcome.state, outcome.reason, outcome.attempts) == ("dead", "exhausted", 3)
    assert outcome.error == error
    assert outcome.delays == (4.0, 8.0)


@pytest.mark.parametrize("how", ["huge", "odd"])
def test_a_result_that_cannot_be_kept_costs_no_job(how: str) -> None:
    outcome = run(how)
    assert (outcome.state, outcome.result) == ("succeeded", None)


def test_the_result_limit_holds_at_its_edge() -> None:
    settings = load_settings(limits={"result_bytes": 7})

    @task(name="test.size", contract=Payload)
    def size(payload: Payload, job: Job):
        return payload.data

    assert run_task(size, {"how": "", "data": "12345"}, settings=settings).result == "12345"
    assert run_task(size, {"how": "", "data": "123456"}, settings=settings).result is None


def test_a_payload_the_api_would_refuse_is_refused() -> None:
    with pytest.raises(ValidationError):
        run_task(behave, {}, secrets={"app/key": "k"})


def test_a_missing_secret_says_how_to_pass_it() -> None:
    with pytest.raises(SealwaxError, match="secrets="):
        run_task(behave, {"how": "echo"})


class Order(BaseModel):
    items: int


@task(name="test.order", contract=Order)
def order(payload: Order, job: Job):
    return [
        job.submit("test.order", {"items": 0}, key=f"item-{number}")
        for number in range(payload.items)
    ]


def test_follow_ups_have_ids_of_their_own_that_repeat() -> None:
    outcome = run_task(order, {"items": 3})
    assert outcome.state == "succeeded"
    assert len(set(outcome.result)) == 3
    assert outcome.follow_ups == ("test.order",) * 3


@task(name="test.stray", contract=Order)
def stray(payload: Order, job: Job):
    job.submit("test.nobody" if payload.items else "test.stray", {"items": "x"}, key="k")


@pytest.mark.parametrize(
    ("items", "cause"), [(1, "unknown-follow-up"), (0, "follow-up-contract-broken")]
)
def test_a_follow_up_that_cannot_be_ends_the_job(items: int, cause: str) -> None:
    outcome = run_task(stray, {"items": items})
    assert (outcome.state, outcome.cause) == ("dead", cause)


@task(name="test.steps", contract=Order, phases=("counting",))
def steps(payload: Order, job: Job):
    job.progress(1, 3, "counting")
    raise Transient("later")


def test_progress_is_reported_while_it_runs() -> None:
    assert run_task(steps, {"items": 1}).state == "retrying"


@task(
    name="test.patient",
    contract=Order,
    retry=RetryPolicy(attempts=9, base=100, cap=100, jitter=False, max_age=250),
)
def patient(payload: Order, job: Job):
    raise Transient("later")


def test_the_delays_of_retries_count_towards_a_jobs_age() -> None:
    outcome = run_task(patient, {"items": 1}, attempts=9)
    assert (outcome.state, outcome.reason, outcome.attempts) == ("dead", "exhausted", 3)
    assert outcome.delays == (100.0, 100.0)


class Colour(enum.Enum):
    RED = "red"


class Strict(BaseModel):
    """What JSON has no type of its own for, in a contract that converts nothing."""

    model_config = ConfigDict(strict=True)

    at: dt.datetime | None = None
    day: dt.date | None = None
    wait: dt.timedelta | None = None
    colour: Colour | None = None
    id: uuid.UUID | None = None
    pair: tuple[int, str] | None = None
    names: frozenset[str] | None = None
    amount: decimal.Decimal | None = None
    raw: bytes | None = None
    count: int | None = None


STRICT = [
    ("at", "2026-03-01T12:00:00Z"),
    ("day", "2026-03-01"),
    ("wait", "PT30S"),
    ("colour", "red"),
    ("id", "12345678-1234-5678-1234-567812345678"),
    ("pair", [1, "a"]),
    ("names", ["a"]),
    ("amount", "1.50"),
    ("raw", "abc"),
    ("count", 10**30),
]


@task(name="test.strict", contract=Strict)
def strict(payload: Strict, job: Job):
    if not job.attempt:
        return None
    return [name for name in Strict.model_fields if getattr(payload, name) is not None]


@task(name="test.hand_on", contract=Strict)
def hand_on(payload: Strict, job: Job):
    job.submit("test.hand_on", payload.model_dump(mode="json"), key="next")


@pytest.mark.parametrize(("name", "value"), STRICT)
def test_a_strict_contract_is_validated_from_json_before_and_after_sealing(name, value) -> None:
    outcome = run_task(strict, {name: value})
    assert (outcome.state, outcome.result) == ("succeeded", [name])
    assert run_task(hand_on, {name: value}).follow_ups == ("test.hand_on",)


@pytest.mark.parametrize(
    ("name", "value"),
    [("count", "1"), ("count", 1.0), ("at", 5), ("colour", "blue"), ("pair", [1]), ("id", "x")],
)
def test_a_strict_contract_stays_strict(name, value) -> None:
    with pytest.raises(ValidationError):
        run_task(strict, {name: value})
