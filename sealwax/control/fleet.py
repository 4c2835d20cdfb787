"""Lanes and workers as operators see them, and what operators may ask of them.

Called by the operations API and the console, which check scopes first. Each
request is written to the audit log before it is carried out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealwax.aws.clock import AWS_CLOCK
from sealwax.aws.errors import AWS_ERRORS, error_code
from sealwax.aws.sqs import QueueUrls
from sealwax.control.audit_log import Audit
from sealwax.control.heartbeats import Heartbeats, WorkerView
from sealwax.control.pauses import Pause, Pauses
from sealwax.control.throughput import Summary, summarise
from sealwax.errors import SealwaxError
from sealwax.ledger import Ledger
from sealwax.settings import Settings

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient
    from types_boto3_sqs.literals import QueueAttributeNameType

__all__ = ["Backlog", "Fleet", "FleetItemNotFound", "LaneView", "Snapshot"]

_ATTRIBUTES: dict[str, QueueAttributeNameType] = {
    "visible": "ApproximateNumberOfMessages",
    "in_flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}


class FleetItemNotFound(SealwaxError):
    """There is no such lane, task or worker; list them to see their names."""


@dataclass(frozen=True)
class Backlog:
    """Messages of a queue: waiting, received and not ended, and not due yet."""

    visible: int
    in_flight: int
    delayed: int


@dataclass(frozen=True, kw_only=True)
class LaneView:
    """A lane at one moment.

    Parameters
    ----------
    backlog
        None where SQS did not say; `trouble` says why.
    oldest
        Epoch seconds since when its oldest open job has waited; None: there is none.
    pause
        None where it runs.
    """

    name: str
    queue: str
    backlog: Backlog | None
    oldest: float | None
    pause: Pause | None
    workers: tuple[WorkerView, ...]
    summary: Summary
    trouble: str | None = None

    @property
    def running(self) -> int:
        """Jobs that run now."""
        return sum(len(worker.report.running) for worker in self.workers)

    @property
    def slots(self) -> int:
        """Jobs that could run at once."""
        return sum(worker.report.concurrency for worker in self.workers)


@dataclass(frozen=True)
class Snapshot:
    """Everything at one moment."""

    at: float
    lanes: tuple[LaneView, ...]
    workers: tuple[WorkerView, ...]
    pauses: tuple[Pause, ...]
    summary: Summary


class Fleet:
    """All lanes and workers of an environment.

    Parameters
    ----------
    sqs
        A boto3 client with time-outs.
    ledger
        Called for each read: the runtime's.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        sqs: SQSClient,
        ledger: Ledger,
        statuses: Heartbeats,
        pauses: Pauses,
        audit: Audit,
        tasks: frozenset[str],
        clock: Callable[[], float] = AWS_CLOCK,
    ) -> None:
        self._settings = settings
        self._sqs = sqs
        self._ledger = ledger
        self._statuses = statuses
        self._pauses = pauses
        self._audit = audit
        self._tasks = tasks
        self._clock = clock
        self._urls = QueueUrls(sqs)

    # -- reading -------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return all lanes and workers; a lane whose queue does not answer says so.

        Costs three queries of the control table and, for each lane, one call of
        SQS and one page of an index of the ledger.
        """
        now = self._clock()
        pauses = tuple(self._pauses.all())
        workers = tuple(self.workers())
        lanes = tuple(
            self._lane(
                name,
                now,
                next((p for p in pauses if (p.what, p.name) == ("lane", name)), None),
                tuple(worker for worker in workers if worker.report.lane == name),
            )
            for name in self._settings.lanes
        )
        summary = summarise((worker.report.series for worker in workers), now)
        return Snapshot(now, lanes, workers, pauses, summary)

    def workers(self) -> list[WorkerView]:
        """Return all workers that have reported within an hour."""
        return self._statuses.views(drain.name for drain in self._pauses.drains())

    def worker(self, worker: str) -> WorkerView:
        """Return one worker.

        Raises
        ------
        FleetItemNotFound
        """
        for view in self.workers():
            if view.id == worker:
                return view
        raise FleetItemNotFound("No worker of this name has reported within an hour.")

    @property
    def tasks(self) -> frozenset[str]:
        """Names of the tasks that may be paused."""
        return self._tasks

    def pauses(self) -> list[Pause]:
        """Return what is paused, the oldest first."""
        return self._pauses.all()

    def _lane(
        self, name: str, now: float, pause: Pause | None, workers: tuple[WorkerView, ...]
    ) -> LaneView:
        backlog, trouble = None, None
        try:
            backlog = self._backlog(name)
        except AWS_ERRORS as error:
            trouble = error_code(error)
        oldest = self._ledger.oldest(name)
        alive = tuple(worker for worker in workers if worker.state != "lost")
        return LaneView(
            name=name,
            queue=self._settings.queue_name(name),
            backlog=backlog,
            oldest=oldest.since if oldest else None,
            pause=pause,
            workers=alive,
            summary=summarise((worker.report.series for worker in workers), now),
            trouble=trouble,
        )

    def _backlog(self, lane: str) -> Backlog:
        url = self._urls.get(self._settings.queue_name(lane))
        found = self._sqs.get_queue_attributes(
            QueueUrl=url, AttributeNames=list(_ATTRIBUTES.values())
        ).get("Attributes", {})
        return Backlog(**{name: int(found.get(key, 0)) for name, key in _ATTRIBUTES.items()})

    # -- asking --------------------------------------------------------------------

    def pause(self, what: str, name: str, *, actor: str, reason: str | None = None) -> None:
        """Pause a lane or a task; one that is paused stays as it is.

        Raises
        ------
        FleetItemNotFound, ControlUnreachable, AuditUnreachable
        """
        self._check(what, name)
        self._record(f"{what}.pause", name, actor, reason)
        self._pauses.pause(what, name, by=actor, reason=reason or "")

    def resume(self, what: str, name: str, *, actor: str, reason: str | None = None) -> None:
        """End a pause; nothing happens where there is none."""
        self._check(what, name)
        self._record(f"{what}.resume", name, actor, reason)
        self._pauses.resume(what, name)

    def drain(self, worker: str, *, actor: str, reason: str | None = None) -> None:
        """Have a worker take nothing more."""
        self.worker(worker)
        self._record("worker.drain", worker, actor, reason)
        self._pauses.drain(worker, by=actor, reason=reason or "")

    def undrain(self, worker: str, *, actor: str, reason: str | None = None) -> None:
        """Have a drained worker take messages again."""
        self.worker(worker)
        self._record("worker.resume", worker, actor, reason)
        self._pauses.undrain(worker)

    def _check(self, what: str, name: str) -> None:
        known = {"lane": set(self._settings.lanes), "task": self._tasks}
        if name not in known[what]:
            raise FleetItemNotFound(f"There is no such {what}.")

    def _record(self, verb: str, target: str, actor: str, reason: str | None) -> None:
        self._audit.record(actor=actor, verb=verb, target=target, count=1, reason=reason)
