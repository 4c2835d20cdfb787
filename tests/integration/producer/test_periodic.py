"""Periodic jobs on emulated AWS: one job a tick, whoever looks and dies."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, time
from typing import Any

import pytest

from sealwax.errors import ConfigurationError
from sealwax.producer.periodic import PeriodicEnqueuer
from sealwax.schedules import Schedule

PAYLOAD = {"route": "plain", "event": "nightly", "body": {}}


class Sent:
    """Submits for real; counts what it was asked."""

    def __init__(self, submitter: Any) -> None:
        self._submitter = submitter
        self.keys: list[str] = []
        self.jobs: set[str] = set()
        self.fails = 0

    def submit(self, *arguments: Any, **options: Any) -> Any:
        self.keys.append(options["idempotency_key"])
        done = self._submitter.submit(*arguments, **options)
        self.jobs.add(done.entry.id)
        if self.fails:
            self.fails -= 1
            raise ConfigurationError("killed between the job and the note of it")
        return done


@pytest.fixture
def services(app):
    found = app.extensions["sealwax"]
    schedule = Schedule(task="webhooks.relay", payload=PAYLOAD, every=60)
    found.runtime.settings.schedules["nightly"] = schedule
    return found


def test_each_tick_fires_one_job_however_many_processes_look(services):
    now = [6_000.0]
    sent = Sent(services.submitter)
    firings = [PeriodicEnqueuer(services.runtime, sent, clock=lambda: now[0]) for _ in range(8)]

    def all_look() -> None:
        threads = [threading.Thread(target=each.turn) for each in firings]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    all_look()
    assert sent.keys == []  # a new schedule begins with its next tick
    for tick in (6_060, 6_120):
        now[0] = tick + 5.0
        all_look()
        all_look()
    assert sent.keys == ["schedule nightly 6060", "schedule nightly 6120"]
    # Down for three ticks: the last one is made up for.
    now[0] = 6_305.0
    all_look()
    assert sent.keys[2:] == ["schedule nightly 6300"]


def test_a_tick_whose_firing_died_is_fired_again_into_the_same_job(services):
    now = [6_000.0]
    sent = Sent(services.submitter)
    first, second = (
        PeriodicEnqueuer(services.runtime, sent, clock=lambda: now[0]) for _ in range(2)
    )
    first.turn()
    now[0] = 6_061.0
    sent.fails = 1
    assert first.turn() == 0
    assert second.turn() == 0  # claimed
    now[0] = 6_095.0
    assert second.turn() == 1
    assert first.turn() == 0
    assert sent.keys == ["schedule nightly 6060"] * 2
    assert len(sent.jobs) == 1


def test_a_schedule_that_names_no_task_or_a_wrong_payload_fails_at_the_start(services):
    for schedule in (
        Schedule(task="no.such", every=60),
        Schedule(task="webhooks.relay", payload={"nonsense": 1}, every=60),
    ):
        services.runtime.settings.schedules["nightly"] = schedule
        with pytest.raises(ConfigurationError, match="nightly"):
            PeriodicEnqueuer(services.runtime, services.submitter)


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("cron", "seen", "due"),
    [
        ("0 3 * * 1", "2026-03-04T12:00:00", "2026-03-09T03:00:00"),  # from a Wednesday
        ("0 3 1 * *", "2026-03-04T12:00:00", "2026-04-01T03:00:00"),
        ("0 0 1 1 *", "2026-01-02T00:00:00", "2027-01-01T00:00:00"),
        ("0 0 29 2 *", "2026-03-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 3 31 * *", "2026-04-01T00:00:00", "2026-05-31T03:00:00"),
        ("30 4 1 6 5", "2026-06-06T00:00:00", "2026-06-12T04:30:00"),
        ("* * * * *", "2026-03-04T12:00:30", "2026-03-04T12:01:00"),
    ],
)
def test_the_first_due_time_after_a_schedule_was_seen_fires(
    services, cron: str, seen: str, due: str
):
    name = f"rare {cron}".replace("*", "x").replace(" ", "-")
    services.runtime.settings.schedules.clear()
    schedule = Schedule(task="webhooks.relay", payload=PAYLOAD, cron=cron)
    services.runtime.settings.schedules[name] = schedule
    now = [at(seen)]
    sent = Sent(services.submitter)

    def process() -> PeriodicEnqueuer:
        return PeriodicEnqueuer(services.runtime, sent, clock=lambda: now[0])

    assert process().turn() == 0
    now[0] = at(due) - 1
    assert process().turn() == 0
    now[0] = at(due) + 5
    processes = [process() for _ in range(3)]
    assert sorted(each.turn() for each in processes) == [0, 0, 1]
    assert [each.turn() for each in processes] == [0, 0, 0]
    assert sent.keys == [f"schedule {name} {int(at(due))}"]


@pytest.mark.parametrize("value", [datetime(2026, 1, 1, tzinfo=UTC), time(3), {1}, b"x", object()])
def test_a_payload_that_is_no_json_fails_at_the_start(services, value):
    # TOML has dates and times of its own, a submission has none.
    services.runtime.settings.schedules["nightly"] = Schedule(
        task="webhooks.relay", payload=PAYLOAD | {"body": {"at": value}}, every=60
    )
    with pytest.raises(ConfigurationError, match="nightly"):
        PeriodicEnqueuer(services.runtime, services.submitter)
