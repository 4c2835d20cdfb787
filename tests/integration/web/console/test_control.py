"""Workers' reports, pauses and drains in the control table."""

from __future__ import annotations

import dataclasses

import pytest

from sealwax.control import ControlTable, Heartbeats, Pauses, RunningJob, WorkerReport
from sealwax.settings import load_settings
from sealwax.transport.pauses import ConsumerPauses
from sealwax.worker.heartbeat import WorkerHeartbeat


@pytest.fixture
def settings(app):
    return app.extensions["sealwax"].settings


@pytest.fixture
def table(app, settings) -> ControlTable:
    aws = app.extensions["sealwax"].runtime.aws
    table = ControlTable(aws.client("dynamodb"), settings.table_name("control"))
    yield table
    for kind in ("worker", "pause", "drain"):
        for item in table.all(kind):
            table.delete(kind, item["id"])


REPORT = WorkerReport(
    id="default-host-1", lane="default", host="host", pid=1, version="1", pool="prefork",
    concurrency=2, started=900.0, seen=1_000.0, held=1, counters={"received": 7},
    running=(RunningJob("a" * 32, "webhooks.relay", 999.5),), series={"newest": "100"},
)  # fmt: skip


def test_a_report_comes_back_as_it_was_and_says_what_it_means(table):
    now = [1_001.0]
    statuses = Heartbeats(table, clock=lambda: now[0])
    statuses.put(REPORT)
    assert statuses.all() == [REPORT]
    assert statuses.get("default-host-1") == REPORT
    assert [view.state for view in statuses.views([])] == ["ready"]
    assert [view.state for view in statuses.views(["default-host-1"])] == ["draining"]
    for change, state in (
        ({"holds": ("paused",)}, "paused"),
        ({"holds": ("draining", "paused"), "held": 0}, "drained"),
        ({"ready": False}, "not ready"),
    ):
        statuses.put(dataclasses.replace(REPORT, **change))
        assert [view.state for view in statuses.views([])] == [state]
    now[0] = 1_100.0
    assert [view.state for view in statuses.views([])] == ["lost"]
    now[0] = 9_000.0
    assert statuses.all() == []
    statuses.forget("default-host-1")
    assert statuses.get("default-host-1") is None


def test_a_pause_is_begun_once_and_ended_once(table):
    pauses = Pauses(table, clock=lambda: 1_000.0)
    assert pauses.pause("lane", "default", by="token:a", reason=" too\nhot ")
    assert not pauses.pause("lane", "default", by="token:b")
    assert pauses.pause("task", "webhooks.relay", by="token:b")
    found = {(pause.what, pause.name): pause for pause in pauses.all()}
    assert found["lane", "default"].by == "token:a"
    assert found["lane", "default"].reason == "too hot"
    assert set(found) == {("lane", "default"), ("task", "webhooks.relay")}
    assert pauses.resume("lane", "default")
    assert not pauses.resume("lane", "default")
    assert pauses.drain("w", by="token:a")
    assert not pauses.drain("w", by="token:a")
    assert pauses.drained("w")
    assert [drain.name for drain in pauses.drains()] == ["w"]
    assert pauses.undrain("w")
    assert not pauses.undrain("w")


def test_a_worker_hears_what_was_asked_of_it_and_reports_that_it_obeys(table, settings):
    consumer_pauses, pauses = ConsumerPauses(), Pauses(table)
    reporting = WorkerHeartbeat(
        table, load_settings(environment=settings.environment), "default", consumer_pauses,
        concurrency=2, version="1",
    )  # fmt: skip
    queue = settings.queue_name("default")
    reporting.apply_pauses()
    assert consumer_pauses.reasons(queue) == frozenset()
    pauses.pause("lane", "default", by="x")
    pauses.pause("lane", "other", by="x")
    pauses.pause("task", "webhooks.relay", by="x")
    pauses.drain(reporting.id, by="x")
    reporting.apply_pauses()
    reporting.report()
    assert consumer_pauses.reasons(queue) == {"paused", "draining"}
    assert consumer_pauses.task_delay("webhooks.relay")
    statuses = Heartbeats(table)
    assert statuses.get(reporting.id).holds == ("draining", "paused")
    pauses.resume("lane", "default")
    pauses.resume("task", "webhooks.relay")
    pauses.undrain(reporting.id)
    reporting.apply_pauses()
    assert consumer_pauses.reasons(queue) == frozenset()
    assert consumer_pauses.task_delay("webhooks.relay") is None
    reporting.stop()
    assert statuses.get(reporting.id) is None


def test_what_was_heard_stays_while_the_table_is_away(table, settings):
    class Away:
        def __getattr__(self, name):
            raise ConnectionError

    consumer_pauses = ConsumerPauses()
    consumer_pauses.pause(settings.queue_name("default"), "paused")
    away = ControlTable(Away(), "nowhere")
    reporting = WorkerHeartbeat(
        away, settings, "default", consumer_pauses, concurrency=2, version="1"
    )
    reporting._try(reporting.apply_pauses)
    assert consumer_pauses.reasons(settings.queue_name("default")) == {"paused"}
