"""The Celery app of a worker: one task for each definition, and its hooks in the transport.

Called by the worker's start. What it shares with producers is in
`sealwax.producer.celery_app`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from celery import Celery

from sealwax.outbox.store import Item
from sealwax.outcomes import DeadLetter, Reason
from sealwax.producer.celery_app import common_options, make_celery
from sealwax.runtime import Runtime
from sealwax.settings import Settings
from sealwax.task_definition import TaskDefinition
from sealwax.transport.dead_letters import DeadLetterEvent
from sealwax.transport.parking import Parked
from sealwax.transport.pauses import ConsumerPauses
from sealwax.worker.isolation import JobIsolation
from sealwax.worker.lease_renewal import LeaseRenewal
from sealwax.worker.letter_signature import signed_members
from sealwax.worker.provenance import Own, Stray, judge
from sealwax.worker.routes import RouteBreakers
from sealwax.worker.settlement import EarlyDeaths, bury_unclaimed
from sealwax.worker.task import KILL_AFTER, SealedTask

__all__ = ["make_app", "worker_arguments"]

#: Headers without which Celery cannot start a task. Nobody has signed any: the
#: envelope must agree with the first two, and the ledger with the third. Times,
#: limits, expiries and what is to be sent on when a task has ended are the
#: ledger's and the definition's.
OBEYED = frozenset({"id", "task", "generation"})


def make_app(
    settings: Settings,
    definitions: Mapping[str, TaskDefinition[Any]],
    runtime: Runtime,
    *,
    lane: str | None = None,
    pauses: ConsumerPauses | None = None,
    routes: RouteBreakers | None = None,
) -> Celery:
    """Return the Celery app of a worker, with a task for each definition.

    Parameters
    ----------
    lane
        The lane that it serves; None for an app that only runs tasks in tests.
    pauses
        The queues and tasks that the worker must not receive or start now.
    routes
        The worker's breakers; None: every system is asked.
    """
    app = make_celery(
        settings,
        lane or next(iter(settings.lanes)),
        _transport_options(settings, runtime, lane, pauses) | {"pauses": pauses},
        prefetch=settings.lanes[lane].prefetch if lane else 1,
    )
    # Celery's own tasks (group, chord, accumulate, ...) run whatever an
    # unsigned message tells them: here they are unknown tasks like any other.
    app.finalize()
    for name in [name for name in app.tasks if name.startswith("celery.")]:
        del app.tasks[name]
    isolation = JobIsolation.make() if lane is not None else None
    early_deaths = EarlyDeaths()
    for definition in definitions.values():
        app.register_task(_make_task(definition, runtime, isolation, early_deaths, routes)())
    return app


def _make_task(
    definition: TaskDefinition[Any],
    runtime: Runtime,
    isolation: JobIsolation | None,
    early_deaths: EarlyDeaths,
    routes: RouteBreakers | None,
) -> type[SealedTask]:
    limit = definition.time_limit or runtime.settings.limits.task_seconds
    return type(
        f"Sealed_{definition.name.replace('.', '_')}",
        (SealedTask,),
        {
            "name": definition.name,
            "definition": definition,
            "runtime": runtime,
            "isolation": isolation,
            "early_deaths": early_deaths,
            "routes": routes,
            "soft_time_limit": limit,
            "time_limit": limit + KILL_AFTER,
            "__doc__": definition.description,
            "__module__": definition.function.__module__,
        },
    )


def _transport_options(
    settings: Settings, runtime: Runtime, lane: str | None, pauses: ConsumerPauses | None
) -> dict[str, Any]:
    options = common_options(settings, [lane] if lane is not None else list(settings.lanes))
    if lane is None:
        options["send_timeout"] = settings.limits.send_seconds
    else:
        options["lease"] = settings.lanes[lane].lease
        options["wait_time"] = settings.lanes[lane].poll
        options["per_tenant"] = settings.lanes[lane].per_tenant
        options["per_route"] = settings.lanes[lane].per_route
        options["liveness_file"] = str(settings.liveness_file) if settings.liveness_file else None

    def verdict(event: DeadLetterEvent) -> DeadLetter:
        """Judge a message that the transport or Celery would dead-letter on its own.

        By its own bytes, whatever they found: only a job's own message makes
        the ledger hear of a death.
        """
        current = runtime.current()
        found = judge(current, event.body)
        if isinstance(found, Stray):
            # What the worker does not know as a task says more than a signature.
            if event.letter.reason is Reason.UNKNOWN_TASK:
                found = replace(found, cause="unknown-task", error="UnknownTask")
            return found.letter()
        return bury_unclaimed(current, found, event.letter, queue=event.queue)

    def sign(event: DeadLetterEvent, members: dict[str, Any]) -> dict[str, Any]:
        """Say whose message a dead letter was, and vouch for it."""
        return signed_members(runtime.current(), event, members)

    def park(parked: Parked) -> None:
        """Keep what waits too long for its queue; the steward sends it when it is due."""
        current = runtime.current()
        # Only its own message may stand for a job: the sweep asks the outbox for it.
        found = judge(current, parked.body)
        own = found.context if isinstance(found, Own) else None
        current.outbox.put(
            Item(
                # The message's id, so that none replaces another.
                id=f"{own.job if own else 'parked'}#{parked.message_id}",
                due=parked.due,
                queue=parked.queue,
                body=parked.body,
                attributes=parked.attributes,
                group=parked.group,
                job=own.job if own else None,
                task=own.task if own else None,
                lane=lane,
            )
        )

    options["park"] = park
    options["on_dead_letter"] = verdict
    options["sign_letter"] = sign
    options["headers"] = OBEYED
    if lane is not None:
        options["on_renew"] = LeaseRenewal(
            runtime, lease=options["lease"], pauses=pauses, queue=settings.queue_name(lane)
        ).renew
    return options


def worker_arguments(settings: Settings, lane: str, *, concurrency: int | None = None) -> list[str]:
    """Return the arguments of Celery's worker program for a lane."""
    pool = settings.lanes[lane]
    return [
        "worker",
        f"--pool={pool.pool}",
        f"--concurrency={concurrency or pool.concurrency}",
        f"--queues={settings.queue_name(lane)}",
        f"--hostname={lane}@%h",
        f"--loglevel={settings.log_level}",
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
    ]
