"""The Celery app of a Sealwax service: the same for producers and workers.

`make_app` registers one task for each definition. Everything that could weaken
the three promises is set here, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery

from sealwax.ledger import is_job_id
from sealwax.outbox.store import Item
from sealwax.runtime import Runtime
from sealwax.settings import Settings
from sealwax.task import TaskDefinition
from sealwax.transport.dead_letters import DeadLetterEvent
from sealwax.transport.parking import Parked
from sealwax.transport.pauses import ConsumerPauses
from sealwax.worker.early_deaths import EarlyDeaths
from sealwax.worker.isolation import JobIsolation
from sealwax.worker.task import KILL_AFTER, SealedTask

__all__ = ["make_app", "worker_arguments"]


def make_app(
    settings: Settings,
    definitions: Mapping[str, TaskDefinition[Any]],
    runtime: Runtime | None = None,
    *,
    lane: str | None = None,
    holds: ConsumerPauses | None = None,
) -> Celery:
    """Return the Celery app.

    Parameters
    ----------
    runtime
        The worker's; None for a producer, which only sends.
    lane
        The lane that a worker serves; None for a producer.
    holds
        What the worker must not receive or start now.
    """
    app = Celery("sealwax", set_as_current=False)
    app.conf.update(
        broker_url="sealwax://sqs//",
        broker_transport="sealwax.transport:Transport",
        broker_transport_options=_transport_options(settings, runtime, lane) | {"holds": holds},
        broker_connection_retry_on_startup=True,
        task_default_queue=settings.queue_name(lane or next(iter(settings.lanes))),
        task_create_missing_queues=True,
        # JSON in, JSON out: pickle would run whatever a forger sends.
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        # Nothing is deleted before its outcome is recorded.
        task_acks_late=True,
        task_acks_on_failure_or_timeout=False,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=settings.lanes[lane].prefetch if lane else 1,
        # Publishing threads share SQS calls; none should wait for a connection.
        broker_pool_limit=64,
        # Neither exists on SQS; both would publish.
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        task_send_sent_event=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # A lost connection to SQS never cancels running tasks.
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    if runtime is not None:
        # Celery's own tasks (group, chord, accumulate, ...) run whatever an
        # unsigned message tells them: here they are unknown tasks like any other.
        app.finalize()
        for name in [name for name in app.tasks if name.startswith("celery.")]:
            del app.tasks[name]
        room = JobIsolation.make() if lane is not None else None
        early_deaths = EarlyDeaths()
        for definition in definitions.values():
            app.register_task(_make_task(definition, runtime, room, early_deaths)())
    return app


def _make_task(
    definition: TaskDefinition[Any],
    runtime: Runtime,
    room: JobIsolation | None,
    early_deaths: EarlyDeaths,
) -> type[SealedTask]:
    limit = definition.time_limit or runtime.settings.limits.task_seconds
    return type(
        f"Sealed_{definition.name.replace('.', '_')}",
        (SealedTask,),
        {
            "name": definition.name,
            "definition": definition,
            "runtime": runtime,
            "room": room,
            "early_deaths": early_deaths,
            "soft_time_limit": limit,
            "time_limit": limit + KILL_AFTER,
            "__doc__": definition.description,
            "__module__": definition.function.__module__,
        },
    )


def _transport_options(
    settings: Settings, runtime: Runtime | None, lane: str | None
) -> dict[str, Any]:
    lanes = [lane] if lane is not None else list(settings.lanes)
    queues = {
        settings.queue_name(name): {"dead_letter_queue": settings.dead_letter_queue_name(name)}
        for name in lanes
    }
    options: dict[str, Any] = {
        "queues": queues,
        "connect_timeout": settings.aws.connect,
        "read_timeout": settings.aws.read,
        "message_bytes": settings.limits.message_bytes,
        "unknown_task_grace": settings.limits.unknown_task_seconds,
        "crashes": settings.limits.crashes,
        "counters_every": settings.counters_seconds,
        "inflated_bytes": 0,  # an envelope does not compress: nobody of ours sends such
        "fair_queues": any(pool.fair for pool in settings.lanes.values()),
    }
    if lane is None:
        # A producer's caller waits meanwhile, and what SQS does not take the outbox does.
        options["send_timeout"] = settings.limits.send_seconds
    if lane is not None:
        options["lease"] = settings.lanes[lane].lease
        options["wait_time"] = settings.lanes[lane].poll
        options["liveness_file"] = str(settings.liveness_file) if settings.liveness_file else None
    if runtime is not None:

        def record(letter: DeadLetterEvent) -> None:
            """Let the ledger know before the transport dead-letters on its own."""
            if letter.job is None or not is_job_id(letter.job):
                # No job of ours: there is nothing to record, the letter says all.
                return
            current = runtime.current()
            current.ledger.die(
                letter.job,
                token=None,
                reason=letter.reason.reason,
                cause=letter.reason.reason,
                error=letter.reason.error or "",
            )

        def renew(deliveries: list[tuple[str, str]]) -> None:
            """Renew the claims of running jobs along with their messages' leases.

            By the delivery's token: two messages may bear one job's id, and only
            the one that holds the claim renews it.
            """
            current = runtime.current()
            for job, token in deliveries:
                if is_job_id(job):
                    current.ledger.renew(job, token=token, lease=options["lease"])

        def park(parked: Parked) -> None:
            """Keep what waits too long for its queue; the steward sends it when it is due."""
            runtime.current().outbox.put(
                Item(
                    # The job's name tells the sweep; the message's, so that none replaces another.
                    id=f"{parked.job or 'parked'}#{parked.message_id}",
                    due=parked.due,
                    queue=parked.queue,
                    body=parked.body,
                    attributes=parked.attributes,
                    group=parked.group,
                    job=parked.job,
                    task=parked.task,
                    lane=lane,
                )
            )

        options["park"] = park
        options["on_dead_letter"] = record
        options["on_renew"] = renew
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
