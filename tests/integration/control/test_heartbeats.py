"""Workers' reports in the control table."""

from __future__ import annotations

import dataclasses

from support.expiries import FAR

from sealwax.control import Heartbeats, RunningJob, WorkerReport

REPORT = WorkerReport(
    id="default-host-1", lane="default", host="host", pid=1, version="1", pool="prefork",
    concurrency=2, started=FAR - 100, seen=FAR, held=1, counters={"received": 7},
    running=(RunningJob("a" * 32, "webhooks.relay", FAR - 0.5),), series={"newest": "100"},
)  # fmt: skip


def test_a_report_comes_back_as_it_was_and_says_what_it_means(table):
    now = [FAR + 1]
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
    now[0] = FAR + 100
    assert [view.state for view in statuses.views([])] == ["lost"]
    now[0] = FAR + 8_000
    assert statuses.all() == []
    statuses.forget("default-host-1")
    assert statuses.get("default-host-1") is None
