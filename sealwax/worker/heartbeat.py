"""Heartbeat of a worker: a thread that reports its state and applies operators' pauses.

Started by `sealwax worker` in its main process. It never decides about a job,
never ends because of an error, and while the control table cannot be reached
keeps the pauses that it read last.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from sealwax.aws.clock import AWS_CLOCK
from sealwax.control.heartbeats import Heartbeats, RunningJob, WorkerReport
from sealwax.control.pauses import Pauses
from sealwax.control.table import ControlTable
from sealwax.control.throughput import ThroughputSeries
from sealwax.errors import SealwaxError
from sealwax.settings import Settings
from sealwax.transport.pauses import ConsumerPauses
from sealwax.transport.settlement import Settler
from sealwax.worker.routes import RouteBreakers

__all__ = ["WorkerHeartbeat", "worker_id"]

log = structlog.get_logger("sealwax.worker")

PAUSED = "paused"
DRAINING = "draining"

#: Most running jobs, and most closed routes, that a report names.
_NAMED = 25


def worker_id(lane: str) -> str:
    """Return this worker's name: its lane, host and process."""
    host = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname())[:40]
    return f"{lane}-{host}-{os.getpid()}"


class WorkerHeartbeat:
    """Heartbeat: reports and reads the pauses every `settings.report_seconds`.

    Parameters
    ----------
    table
        The control table.
    lane
        The worker's.
    consumer_pauses
        Set when a lane or a task is paused.
    routes
        The worker's breakers, whose closed routes are reported.
    """

    def __init__(
        self,
        table: ControlTable,
        settings: Settings,
        lane: str,
        consumer_pauses: ConsumerPauses,
        *,
        concurrency: int,
        version: str,
        routes: RouteBreakers | None = None,
        clock: Callable[[], float] = AWS_CLOCK,
        off: Callable[[], float] = lambda: AWS_CLOCK.off,
    ) -> None:
        self._routes = routes
        self._off = off
        self.id = worker_id(lane)
        self._statuses = Heartbeats(table, clock)
        self._pauses = Pauses(table, clock)
        self._settings = settings
        self._lane = lane
        self._queue = settings.queue_name(lane)
        self._consumer_pauses = consumer_pauses
        self._concurrency = concurrency
        self._version = version
        self._clock = clock
        self._started = clock()
        self._series = ThroughputSeries()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = False

    def apply_pauses(self) -> None:
        """Read what is paused, and pause or resume this worker's consumers.

        Raises
        ------
        SealwaxError
            Where the control table cannot be read; the pauses read last stay.
        """
        pauses = self._pauses.all()
        drained = self._pauses.drained(self.id)
        lanes = {pause.name for pause in pauses if pause.what == "lane"}
        self._consumer_pauses.set_tasks({p.name: p.since for p in pauses if p.what == "task"})
        for reason, wanted in ((PAUSED, self._lane in lanes), (DRAINING, drained)):
            if wanted:
                self._consumer_pauses.pause(self._queue, reason)
            else:
                self._consumer_pauses.resume(self._queue, reason)

    def report(self) -> None:
        """Write one report."""
        now = self._clock()
        settlers = [each for each in self._consumer_pauses.consumers if isinstance(each, Settler)]
        counters: dict[str, int] = {}
        for settler in settlers:
            counters |= settler.engine.counters.snapshot()
        self._series.add(counters, now)
        self._statuses.put(
            WorkerReport(
                id=self.id,
                lane=self._lane,
                host=socket.gethostname(),
                pid=os.getpid(),
                version=self._version,
                pool=self._settings.lanes[self._lane].pool,
                concurrency=self._concurrency,
                started=self._started,
                seen=now,
                ready=any(settler.liveness.status().ready for settler in settlers),
                held=sum(len(settler.in_flight) for settler in settlers),
                holds=tuple(sorted(self._consumer_pauses.reasons(self._queue))),
                running=tuple(self._running(settlers, now))[:_NAMED],
                routes=tuple(sorted(map(str, self._routes.closed())))[:_NAMED]
                if self._routes
                else (),
                clock_off=round(self._off(), 1),
                counters=counters,
                series=self._series.report(),
            )
        )

    def _running(self, settlers: list[Settler], now: float) -> list[RunningJob]:
        steady = time.monotonic()
        return [
            RunningJob(d.job or "", d.task or "", round(now - (steady - d.started_at), 3))
            for settler in settlers
            for d in settler.in_flight.started()
        ]

    def start(self) -> None:
        """Start the thread; call it in the main process, once it consumes."""
        self._thread = threading.Thread(target=self._run, name="sealwax-heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and delete the last report."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
        self._try(lambda: self._statuses.forget(self.id))

    def _run(self) -> None:
        while True:
            self._try(self.apply_pauses)
            self._try(self.report)
            if self._stop.wait(self._settings.report_seconds):
                return

    def _try(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except SealwaxError as error:
            if not self._failing:
                log.warning("control table unavailable", error=type(error).__name__)
            self._failing = True
        except Exception as error:  # noqa: BLE001 - a report is never worth a worker
            log.warning("report failed", error=type(error).__name__)
        else:
            self._failing = False
