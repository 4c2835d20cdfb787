"""Whatever the class of a task: what it raises is a letter, what a killed worker ran runs again."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from support.sqs_lab import Lab
from support.waiting import wait_for

WAYS = (
    "plain", "shared", "base", "base-shared", "base-eager", "base-app", "flask", "sure", "mixed",
    "listed", "asking", "late-said", "auto", "class", "class-base", "class-mixed",
    "class-ignoring", "found",
)  # fmt: skip


def variables(task_cls: str = "", app: str = "class_app") -> dict[str, str]:
    return {"LAB_APP": app, "LAB_TASK_CLS": task_cls}


def noted(lab: Lab, event: str) -> list[str]:
    return sorted(note["name"] for note in lab.notes(event))


def of_all(suffix: str, times: int = 1) -> list[str]:
    return sorted(f"{way}.{suffix}" for way in WAYS for _ in range(times))


@pytest.mark.parametrize("task_cls", ["", "class", "string", "flask", "ours", "named"])
def test_what_a_task_raises_is_a_letter_whatever_its_class(lab: Lab, task_cls: str) -> None:
    lab.start_worker(variables=variables(task_cls))
    for way in WAYS:
        lab.send(f"{way}.bad")
        lab.send(f"{way}.again")
    wait_for(lambda: lab.dead_count() == len(WAYS) and lab.empty(), seconds=60)
    wait_for(lambda: lab.has_notes("again", 3 * len(WAYS)), seconds=60)
    letters = lab.letters()
    assert sorted(letter["task"] for letter in letters) == of_all("bad")
    assert {(letter["reason"], letter["error"]) for letter in letters} == {("rejected", "KeyError")}
    assert noted(lab, "bad") == of_all("bad")
    assert noted(lab, "again") == of_all("again", 3)
    assert {note["retries"] for note in lab.notes("again")} == {0, 1, 2}
    # The app's own methods are what they were.
    hooks = {note["name"] for note in lab.notes("hook")}
    assert {"base.bad", "class-base.bad", "sure.bad"} <= hooks
    assert {note["name"] for note in lab.notes("mixin")} >= {"mixed.bad", "class-mixed.bad"}
    assert set(noted(lab, "request")) == {"asking.bad", "asking.again"}
    assert {note["name"] for note in lab.notes("context")} == {"shop"}


@pytest.mark.long
def test_what_a_killed_worker_ran_runs_again_whatever_its_class(lab: Lab) -> None:
    count = len(WAYS)
    first = lab.start_worker(
        variables=variables(), concurrency=count, pool="threads", lease=3, settle_linger=0.01
    )
    for way in WAYS:
        lab.send(f"{way}.slow", 600)
    wait_for(lambda: noted(lab, "start") == of_all("slow"), seconds=60)
    lab.kill(first)
    lab.start_worker(variables=variables(), concurrency=count, pool="threads", lease=3)
    wait_for(lambda: noted(lab, "start") == of_all("slow", 2), seconds=60)
    assert lab.dead_count() == 0


def test_a_class_with_a_strategy_of_its_own_is_refused_by_name(lab: Lab) -> None:
    """Such a class settles messages itself (celery-batches does)."""
    done = start_to_its_end(lab, "class_app_strange")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "strange.one (it has a Strategy of its own)" in said
    assert "strange.two (its Request is no class of Celery's requests)" in said
    assert "sealwax.transport.Task" in said
    assert "class.bad" not in said.partition("sealwax:")[2]


def start_to_its_end(lab: Lab, app: str) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", app, "worker", "-c", "1", "-P", "solo"],
        env=lab.environment() | variables(app=app),
        capture_output=True,
        text=True,
        timeout=120,
    )
