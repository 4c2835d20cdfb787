"""How a failed attempt is classified and what follows, as tables."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.outcomes import (
    DeadLetter,
    Failure,
    Reason,
    Rejected,
    Retry,
    Transient,
    classify,
    decide,
)
from sealwax.retry import RetryPolicy

CANARY = "canary: card 4111"
POLICY = RetryPolicy(attempts=3, base=10, cap=100, jitter=False)


class SoftTimeLimitExceeded(Exception):
    """Stands for billiard's."""


class Refusal(Rejected):
    """A team's own."""


class Named(RuntimeError):
    """Ends jobs of a policy that says so."""


@pytest.mark.parametrize(
    ("error", "kind", "cause", "retry_after"),
    [
        (Rejected("downstream-400"), "permanent", "downstream-400", None),
        (Rejected(), "permanent", "rejected", None),
        (Refusal("no-such-customer"), "permanent", "no-such-customer", None),
        (Transient("downstream-503", retry_after=7.5), "transient", "downstream-503", 7.5),
        (Transient(), "transient", "transient", None),
        (Named(CANARY), "permanent", "permanent-error", None),
        (SoftTimeLimitExceeded(), "transient", "time-limit", None),
        (MemoryError(CANARY), "transient", "out-of-memory", None),
        (ValueError(CANARY), "transient", "unexpected-error", None),
        (KeyError(CANARY), "transient", "unexpected-error", None),
        (SystemExit(CANARY), "transient", "terminated", None),
        (BaseException(CANARY), "transient", "unexpected-error", None),
        (ExceptionGroup(CANARY, [Rejected("x")]), "transient", "unexpected-error", None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_what_a_task_raised_is_classified(
    error: BaseException, kind: str, cause: str, retry_after: float | None
) -> None:
    failure = classify(error, RetryPolicy(permanent=(Named,)))
    assert (failure.kind, failure.cause, failure.retry_after) == (kind, cause, retry_after)
    assert failure.error == type(error).__name__
    assert CANARY not in repr(failure)


def test_an_error_is_permanent_only_where_the_policy_says_so() -> None:
    assert classify(Named(), RetryPolicy()).kind == "transient"
    # What the task raised on purpose goes before the policy.
    assert classify(Transient("x"), RetryPolicy(permanent=(Exception,))).kind == "transient"


@pytest.mark.parametrize(
    "text",
    ["a", "0", "downstream-400", "crm.conflict", "a" * 64],
)
def test_machine_readable_causes_are_kept(text: str) -> None:
    assert Rejected(text).cause == Transient(text).cause == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Downstream-400",
        "card 4111",
        "a_b",
        "-a",
        ".a",
        "a\n",
        "ü",
        "²",
        "a" * 65,
        "{}",
        "a/b",
        CANARY,
        None,
        42,
        b"downstream-400",
        ValueError(CANARY),
    ],
    ids=repr,
)
def test_free_text_is_no_cause(text: Any) -> None:
    """Also what is no text: a task that wants to reject must not be retried for its mistake."""
    for error, default in ((Rejected(text), "rejected"), (Transient(text), "transient")):
        assert error.cause == default
        assert str(error) == default
        assert "4111" not in repr(error)


@given(st.text())
def test_a_cause_never_holds_spaces_or_capitals(text: str) -> None:
    cause = Transient(text).cause
    assert cause == cause.lower()
    assert cause.isascii()
    assert " " not in cause
    assert len(cause) <= 64


def test_details_are_kept_apart_from_the_text() -> None:
    for error in (Rejected("x", detail=CANARY), Transient("x", detail=CANARY)):
        assert error.detail == CANARY
        assert "4111" not in str(error) + repr(error)


Decision = tuple[str, Any]


@pytest.mark.parametrize(
    ("failure", "state", "decision"),
    [
        # (kind, retry_after), (attempt, age, policy's max age, max age) -> delay or reason
        (("permanent", None), (1, 0, None, 1_000), "rejected"),
        (("permanent", 5.0), (3, 9_999, None, 1_000), "rejected"),
        (("unopenable", None), (1, 0, None, 1_000), "unopenable"),
        (("unopenable", None), (9, 9_999, None, 1_000), "unopenable"),
        (("transient", None), (1, 0, None, 1_000), 10),
        (("transient", None), (2, 0, None, 1_000), 20),
        # the last attempt, and one more
        (("transient", None), (3, 0, None, 1_000), "exhausted"),
        (("transient", None), (4, 0, None, 1_000), "exhausted"),
        # age + delay at the limit, and just over
        (("transient", None), (1, 990, None, 1_000), 10),
        (("transient", None), (1, 990.001, None, 1_000), "exhausted"),
        (("transient", None), (1, 1_001, None, 1_000), "exhausted"),
        # the stricter of both limits holds
        (("transient", None), (1, 90, 100, 1_000), 10),
        (("transient", None), (1, 91, 100, 1_000), "exhausted"),
        (("transient", None), (1, 991, 5_000, 1_000), "exhausted"),
        # Retry-After is a least delay; it goes beyond the cap, not beyond the age
        (("transient", 0.0), (1, 0, None, 1_000), 10),
        (("transient", 9.0), (1, 0, None, 1_000), 10),
        (("transient", 11.0), (1, 0, None, 1_000), 11),
        (("transient", 500.0), (2, 0, None, 1_000), 500),
        (("transient", 500.0), (2, 500, None, 1_000), 500),
        (("transient", 500.0), (2, 501, None, 1_000), "exhausted"),
        (("transient", 500.0), (3, 0, None, 1_000), "exhausted"),
        # what a broken downstream may send
        (("transient", -5.0), (1, 0, None, 1_000), 10),
        (("transient", math.inf), (1, 0, None, 1_000), "exhausted"),
        (("transient", math.nan), (1, 0, None, 1_000), 10),
        # a clock set back
        (("transient", None), (1, -50, None, 1_000), 10),
        (("crashed", None), (1, 0, None, 1_000), 10),
        (("crashed", None), (3, 0, None, 1_000), "crashed"),
        (("crashed", None), (1, 999, None, 1_000), "crashed"),
    ],
)
def test_what_follows_a_failed_attempt(
    failure: tuple[Any, float | None],
    state: tuple[int, float, float | None, float],
    decision: float | str,
) -> None:
    kind, retry_after = failure
    attempt, age, own, limit = state
    policy = RetryPolicy(attempts=3, base=10, cap=100, jitter=False, max_age=own)
    found = decide(
        Failure(kind=kind, cause="c", error="E", retry_after=retry_after),
        attempt=attempt,
        age=age,
        policy=policy,
        max_age=limit,
        chance=0.5,
    )
    if isinstance(decision, str):
        reason = Reason(decision)  # type: ignore[call-arg]  # by its value
        assert found == DeadLetter(reason=reason, cause="c", error="E", attempts=attempt)
    else:
        assert found == Retry(decision)


@given(
    kind=st.sampled_from(["transient", "permanent", "unopenable", "crashed"]),
    attempt=st.integers(1, 200),
    age=st.floats(0, 10**7),
    chance=st.floats(0, 1, exclude_max=True),
    retry_after=st.none() | st.floats(),
)
def test_no_job_is_tried_beyond_its_attempts_or_its_age(
    kind: Any, attempt: int, age: float, chance: float, retry_after: float | None
) -> None:
    failure = Failure(kind=kind, cause="c", error="E", retry_after=retry_after)
    found = decide(
        failure, attempt=attempt, age=age, policy=RetryPolicy(), max_age=1_000, chance=chance
    )
    if isinstance(found, Retry):
        assert kind in ("transient", "crashed")
        assert attempt < 8
        assert found.after >= 0
        assert age + found.after <= 1_000
    else:
        assert found.reason in ("rejected", "unopenable", "crashed", "exhausted")


def test_a_letter_takes_a_reason_by_its_text_and_no_other_text() -> None:
    letter = DeadLetter(reason="crashed")  # type: ignore[arg-type]
    assert letter.reason is Reason.CRASHED
    with pytest.raises(ValueError, match="odd"):
        DeadLetter(reason="odd")  # type: ignore[arg-type]


def test_a_letter_survives_the_way_from_child_to_parent() -> None:
    letter = DeadLetter(reason=Reason.MALFORMED, cause="c", attempts=1, details={"a": [1]})
    found = pickle.loads(pickle.dumps(letter))
    assert found == letter
    assert found.reason is Reason.MALFORMED
