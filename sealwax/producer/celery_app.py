"""The Celery app of a Sealwax service: what producers and workers have in common.

Called by the HTTP edge, which only sends, and by `sealwax.worker.app`, which adds
the tasks. Everything that could weaken the three promises is set here, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery

from sealwax.settings import Settings

__all__ = ["common_options", "make_celery", "make_producer"]


def make_producer(settings: Settings) -> Celery:
    """Return an app that only sends, to all lanes.

    Its caller waits for a send at most `limits.send_seconds`; what SQS does not
    take in that time the outbox does.
    """
    options = common_options(settings, list(settings.lanes))
    options["send_timeout"] = settings.limits.send_seconds
    return make_celery(settings, next(iter(settings.lanes)), options)


def common_options(settings: Settings, lanes: list[str]) -> dict[str, Any]:
    """Return the transport's options that do not depend on the role."""
    return {
        "queues": {
            settings.queue_name(name): {"dead_letter_queue": settings.dead_letter_queue_name(name)}
            for name in lanes
        },
        "connect_timeout": settings.aws.connect,
        "read_timeout": settings.aws.read,
        "message_bytes": settings.limits.message_bytes,
        "unknown_task_grace": settings.limits.unknown_task_seconds,
        "crashes": settings.limits.crashes,
        "counters_every": settings.counters_seconds,
        "inflated_bytes": 0,  # an envelope does not compress: nobody of ours sends such
        "fair_queues": any(pool.fair for pool in settings.lanes.values()),
    }


def make_celery(
    settings: Settings, lane: str, transport: Mapping[str, Any], *, prefetch: int = 1
) -> Celery:
    """Return the app.

    Parameters
    ----------
    lane
        Whose queue is the default one.
    transport
        The transport's options.
    prefetch
        Messages held for each task that runs at once.
    """
    app = Celery("sealwax", set_as_current=False)
    app.conf.update(
        broker_url="sealwax://",
        broker_transport="sealwax.transport:Transport",
        broker_transport_options=dict(transport),
        broker_connection_retry_on_startup=True,
        task_default_queue=settings.queue_name(lane),
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
        worker_prefetch_multiplier=prefetch,
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
    return app
