"""What a worker reports of itself, and hears of what was asked of it."""

from __future__ import annotations

from sealwax.control import ControlTable, Heartbeats, Pauses
from sealwax.settings import load_settings
from sealwax.transport.pauses import ConsumerPauses
from sealwax.worker.heartbeat import WorkerHeartbeat


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
    report = statuses.get(reporting.id)
    assert report is not None
    assert report.holds == ("draining", "paused")
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


def test_a_worker_reports_how_wrong_its_clock_is(table, settings):
    reporting = WorkerHeartbeat(
        table, settings, "default", ConsumerPauses(), concurrency=2, version="1",
        off=lambda: -600.04,
    )  # fmt: skip
    reporting.report()
    report = Heartbeats(table).get(reporting.id)
    assert report is not None
    assert report.clock_off == -600.0
