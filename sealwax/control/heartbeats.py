"""What workers report of themselves, in place of Celery's remote control, which SQS has not.

A worker writes one item of the control table every few seconds; the operations
API and the console read them all. A report says what a worker does, never what
a job's payload is; nothing is decided by it but what people see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sealwax.aws.clock import AWS_CLOCK
from sealwax.control.table import ControlTable

__all__ = ["LOST_AFTER", "Heartbeats", "RunningJob", "WorkerReport", "WorkerView"]

KIND = "worker"

#: Seconds without a report after which a worker counts as lost, and after which
#: its last report is dropped.
LOST_AFTER = 30.0
KEEP = 3_600


@dataclass(frozen=True)
class RunningJob:
    """A job that a worker runs; `since` in epoch seconds."""

    job: str
    task: str
    since: float


@dataclass(frozen=True, kw_only=True)
class WorkerReport:
    """One worker's word about itself.

    Parameters
    ----------
    held
        Messages received and not ended, running ones included.
    holds
        Why it receives nothing now; empty where it does.
    routes
        Routes that are closed because what they ask has failed; see `sealwax.worker.routes`.
    clock_off
        Seconds by which its machine's clock is ahead of AWS's; 0: as far as is known, none.
    counters
        The transport's, since it started.
    series
        Name to counts by interval, see `sealwax.control.throughput`.
    """

    id: str
    lane: str
    host: str
    pid: int
    version: str
    pool: str
    concurrency: int
    started: float
    seen: float
    ready: bool = True
    held: int = 0
    holds: tuple[str, ...] = ()
    running: tuple[RunningJob, ...] = ()
    routes: tuple[str, ...] = ()
    clock_off: float = 0.0
    counters: Mapping[str, int] = field(default_factory=dict)
    series: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkerView:
    """A report as others see it, at one moment."""

    report: WorkerReport
    state: str
    draining: bool

    @property
    def id(self) -> str:
        """The worker's id."""
        return self.report.id


class Heartbeats:
    """The reports in the control table.

    Parameters
    ----------
    clock
        Epoch seconds.
    """

    def __init__(self, table: ControlTable, clock: Callable[[], float] = AWS_CLOCK) -> None:
        self._table = table
        self._clock = clock

    def put(self, report: WorkerReport) -> None:
        """Write a worker's report in place of its last one."""
        values = asdict(report)
        del values["id"]
        values["expires"] = int(report.seen) + KEEP
        self._table.put(KIND, report.id, values)

    def forget(self, worker: str) -> None:
        """Drop the report of a worker that has ended."""
        self._table.delete(KIND, worker)

    def get(self, worker: str) -> WorkerReport | None:
        """Return one worker's last report."""
        item = self._table.get(KIND, worker)
        return _report(item) if item else None

    def all(self) -> list[WorkerReport]:
        """Return the last reports, by lane and id."""
        now = self._clock()
        found = [_report(item) for item in self._table.all(KIND) if item["expires"] > now]
        return sorted(found, key=lambda report: (report.lane, report.id))

    def views(self, draining: Iterable[str]) -> list[WorkerView]:
        """Return the reports with what they mean now; `draining`: ids of workers asked to."""
        asked = frozenset(draining)
        now = self._clock()
        return [_view(report, now, asked=report.id in asked) for report in self.all()]


def _view(report: WorkerReport, now: float, *, asked: bool) -> WorkerView:
    if now - report.seen > LOST_AFTER:
        state = "lost"
    elif asked or "draining" in report.holds:
        state = "drained" if not report.held else "draining"
    elif report.holds:
        state = "paused"
    else:
        state = "ready" if report.ready else "not ready"
    return WorkerView(report, state, draining=asked)


def _report(item: Mapping[str, Any]) -> WorkerReport:
    # Unknown members are left out: during a rolling deploy both versions report.
    known = {name: item[name] for name in WorkerReport.__dataclass_fields__ if name in item}
    known["running"] = tuple(RunningJob(**each) for each in known.get("running", ()))
    known["holds"] = tuple(known.get("holds", ()))
    known["routes"] = tuple(known.get("routes", ()))
    return WorkerReport(**known)
