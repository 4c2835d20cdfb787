"""Celery's best known add-ons do the same on stock Celery and on ours, or differ by design."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.addons import OWN_RULES, PROGRAMS, RULES, Notes, Run, both, compare
from support.dropin import redis_server
from support.lab_fixtures import sqs_url  # noqa: F401 - a fixture
from support.sqs_lab import ROOT

pytestmark = pytest.mark.addons

POSTPONED = "a retry postpones the same message: nothing is published"
BROKERS = "the calls to the broker, its name and host are its own"

#: The reasons for which each program differs.
SAME_BUT_FOR: dict[str, list[str]] = {
    "results_app": [],
    "once_app": [],
    "flask_app": [],
    "tenants_app": [],
    "singleton_app": ["a retry is no duplicate of its own job"],
    "structlog_app": [POSTPONED],
    "otel_app": [POSTPONED],
    "sentry_app": [POSTPONED, BROKERS],
    "datadog_app": [POSTPONED, BROKERS],
}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        if url is None:
            pytest.skip("there is no redis-server: install the package redis-server")
        yield url.removesuffix("/0")


@pytest.fixture
def run_both(redis: str, sqs_url: str, tmp_path: Path) -> Callable[[str], tuple[Run, Run]]:  # noqa: F811
    python = os.environ.get("SEALWAX_ADDONS_PYTHON")
    if not python:
        pytest.skip("SEALWAX_ADDONS_PYTHON names no Python with the add-ons: make test-addons")
    return lambda program: both(program, tmp_path, python=python, redis=redis, url=sqs_url)


def results(notes: Notes) -> dict[str, object]:
    return {said["case"]: said["result"] for said in notes if said["event"] == "ended"}


@pytest.mark.parametrize("program", SAME_BUT_FOR)
def test_an_addon_does_the_same_as_on_stock_celery(
    run_both: Callable[[str], tuple[Run, Run]], program: str
) -> None:
    stock, ours = run_both(program)
    reasons, unexplained = compare(program, stock.notes, ours.notes)
    assert not unexplained, unexplained
    assert reasons == SAME_BUT_FOR[program]
    # A comparison of two workers that did nothing would be the same, too.
    found = results(ours.notes)
    assert found["add"] == [["SUCCESS", 3]]
    assert found["again"] == found["auto"] == [["SUCCESS", "done"]]
    assert found["chord"] == [["SUCCESS", 8]]
    for failed in ("fail", "spent"):
        assert str(found[failed]).startswith("[['FAILURE', "), found[failed]
    attempts = [said["run"] for said in ours.notes if said["event"] == "ran"]
    assert [attempts.count(name) for name in ("add", "again", "spent", "auto")] == [1, 2, 2, 3]
    if program == "singleton_app":
        # Stock loses each job that asks for another attempt, and keeps its lock.
        assert results(stock.notes)["again"] == [["RETRY", False]]
        left = [
            said["locks"] for run in (stock, ours) for said in run.notes if said["event"] == "left"
        ]
        assert left == [3, 0]


def test_a_class_that_settles_messages_itself_is_refused_by_name(
    run_both: Callable[[str], tuple[Run, Run]],
) -> None:
    stock, ours = run_both("batches_app")
    ran = [said["arguments"] for said in stock.notes if said["event"] == "ran"]
    assert ran == [[1, 2, 3], [4, 5]]
    assert not ours.started
    assert ours.notes == []
    assert re.search(r"count.*Strategy|Strategy.*count", ours.log, re.DOTALL), ours.log


def test_each_program_is_run() -> None:
    found = {path.stem for path in PROGRAMS.glob("*_app.py")} - {"addon_app"}
    assert found == {*SAME_BUT_FOR, "batches_app"}


def test_each_reason_stands_in_the_documentation() -> None:
    page = " ".join((ROOT / "docs/transport.md").read_text().split())
    rules = {*RULES, *(reason for own in OWN_RULES.values() for reason in own)}
    assert [reason for reason in sorted(rules) if reason not in page] == []


@pytest.mark.parametrize(
    ("stock", "ours"),
    [
        ([("ran", "add", {})], []),
        ([("ran", "add", {"seen": 1})], [("ran", "add", {"seen": 2})]),
        ([("published", "add", {"id": "add"})], []),
        ([("span", "add", {"parent": "a"})], [("span", "add", {"parent": "b"})]),
        ([("over", "add", {"id": "add", "state": "RETRY"}), ("published", "add", {"id": "b"})],
         [("over", "add", {"id": "add", "state": "RETRY"})]),
    ],
)  # fmt: skip
def test_a_difference_that_no_reason_covers_is_found(
    stock: list[tuple[str, str, dict[str, Any]]], ours: list[tuple[str, str, dict[str, Any]]]
) -> None:
    one, other = (
        [{"event": event, "run": run, **more} for event, run, more in side]
        for side in (stock, ours)
    )
    assert compare("once_app", one, other)[1]
    assert compare("once_app", one, one) == ([], "")
