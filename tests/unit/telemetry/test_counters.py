"""Counters: kept by name, logged at intervals, summed over a process."""

from __future__ import annotations

import logging

import pytest

from sealwax.telemetry.counters import CounterLog, Counters
from sealwax.transport import snapshot
from sealwax.transport.engine import engine_for
from sealwax.transport.options import TransportOptions


def test_the_log_has_a_line_at_each_interval_and_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    counters = Counters()
    log = CounterLog(counters, 60, clock=lambda: now[0])
    counters.add("receives", 2)
    counters.add("failures.receive.503")
    with caplog.at_level(logging.INFO):
        for moment in (1, 59, 60, 61, 119, 120):
            now[0] = moment
            log.tick()
        log.write()
    assert len(caplog.records) == 3
    assert caplog.records[0].getMessage() == (
        "Transport counters: failures.receive.503=1 receives=2"
    )
    assert caplog.records[0].__dict__["counters"] == {"failures.receive.503": 1, "receives": 2}


def test_no_interval_means_no_line(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    counters = Counters()
    log = CounterLog(counters, 0, clock=lambda: now[0])
    counters.add("receives")
    with caplog.at_level(logging.INFO):
        now[0] = 1e6
        log.tick()
        log.write()
    assert not caplog.records


def test_a_snapshot_is_the_sum_of_all_engines() -> None:
    before = snapshot().get("postponed", 0)
    engine_for(TransportOptions(lease=31)).counters.add("postponed", 2)
    engine_for(TransportOptions(lease=32)).counters.add("postponed", 3)
    assert snapshot()["postponed"] == before + 5
