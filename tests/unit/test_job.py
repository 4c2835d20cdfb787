"""What a task gets from its job where the worker gave it nothing more."""

from __future__ import annotations

from typing import Any

import pytest

from sealwax.job import Job, LeaseLost, SecretNotDeclared
from sealwax.settings import load_settings


def job(**more: Any) -> Job:
    fields: dict[str, Any] = {
        "id": "a" * 32, "task": "t", "tenant": "b" * 64, "attempt": 1, "accepted_at": 1.0,
        "settings": load_settings(environment="test"),
    }  # fmt: skip
    return Job(**fields | more)


def test_only_declared_secrets_are_given_and_none_is_shown() -> None:
    made = job(secrets={"app/x": "canary"})
    assert made.secret("app/x") == "canary"
    with pytest.raises(SecretNotDeclared, match="app/y"):
        made.secret("app/y")
    assert "canary" not in repr(made)


def test_a_job_without_a_queue_sends_no_follow_up() -> None:
    with pytest.raises(NotImplementedError, match="without a queue"):
        job().submit("t", {}, key="k")
    sent: list[tuple[Any, ...]] = []
    made = job(sender=lambda *arguments: sent.append(arguments) or "id")
    assert made.submit("t", {"n": 1}, key="k") == "id"
    assert sent == [("t", {"n": 1}, "k")]


def test_progress_and_checks_reach_who_made_the_job() -> None:
    job().progress(1)
    job().check()
    told: list[tuple[Any, ...]] = []

    def lost() -> None:
        raise LeaseLost

    made = job(reporter=lambda *arguments: told.append(arguments), checker=lost)
    made.progress(3, 9, "upload")
    assert told == [(3, 9, "upload")]
    with pytest.raises(LeaseLost):
        made.check()
