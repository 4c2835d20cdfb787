"""Many tasks of one caller, sent together: the bulk path.

`send_tasks` prepares each message as Celery would, then lets all share calls
of ten, several under way at once. Each task's result is returned on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kombu.serialization import dumps
from kombu.utils.uuid import uuid

from sealwax.transport.channel import Channel
from sealwax.transport.errors import TransportError

__all__ = ["send_tasks"]


def send_tasks(
    app: Any, signatures: Sequence[Any], *, queue: str | None = None
) -> list[tuple[str, TransportError | None]]:
    """Send signatures (`task.s(...)`); return each one's id and what went wrong, or None.

    Parameters
    ----------
    app
        A Celery app on this transport.
    queue
        Where all go; default: each signature's own `queue` option, else the
        app's default queue. Routes are not asked.

    Notes
    -----
    `link`, `chord` and other canvas options are left out: this is for plain
    tasks. The signals `before_task_publish` and `after_task_publish` are not sent.
    """
    prepared: list[tuple[str, str, dict[str, Any]]] = []
    with app.connection_for_write() as connection:
        channel: Channel = connection.default_channel
        for signature in signatures:
            options = dict(signature.options)
            job = options.pop("task_id", None) or uuid()
            target = queue or options.pop("queue", None) or app.conf.task_default_queue
            properties = {
                name: options.pop(name)
                for name in ("sealwax-group", "sealwax-dedup", "message_attributes")
                if name in options
            }
            fields = app.amqp.as_task_v2(
                job, signature.task, signature.args, signature.kwargs, **options
            )
            content_type, encoding, body = dumps(fields.body, serializer=app.conf.task_serializer)
            message = channel.prepare_message(
                body,
                content_type=content_type,
                content_encoding=encoding,
                headers=fields.headers,
                properties={**fields.properties, **properties, "delivery_mode": 2},
            )
            prepared.append((job, target, message))
        results_by_id: dict[str, TransportError | None] = {}
        for target in {name for _, name, _ in prepared}:
            chosen = [(job, message) for job, name, message in prepared if name == target]
            results = channel.send_many(target, [message for _, message in chosen])
            results_by_id.update(zip((job for job, _ in chosen), results, strict=True))
    return [(job, results_by_id[job]) for job, _, _ in prepared]
