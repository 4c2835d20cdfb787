"""Many tasks of one caller, sent together: the bulk path.

`send_tasks` has Celery prepare each message, as `apply_async` does, then lets all
share calls of ten, several under way at once. Each task's result is returned on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sealwax.transport.channel import Addressed, Channel
from sealwax.transport.errors import TransportError

__all__ = ["send_tasks"]


def send_tasks(
    app: Any, signatures: Sequence[Any], *, queue: str | None = None
) -> list[tuple[str, TransportError | None]]:
    """Send signatures (`task.s(...)`); return each one's id and what went wrong, or None.

    What is sent is what `signature.apply_async()` sends: options, headers, links, stamps,
    routes. Of a canvas these are its first messages; the first that fails is told.

    Parameters
    ----------
    app
        A Celery app on this transport.
    queue
        Where all go; default: each signature's own `queue` option, else where the
        app's routes lead it.

    Notes
    -----
    The signals `before_task_publish` and `after_task_publish` are sent as each message is
    prepared, before any is sent. What no message can be made of raises then, and nothing is sent.
    """
    prepared: list[tuple[str, TransportError | None, int]] = []
    options = {} if queue is None else {"queue": queue}
    with app.connection_for_write() as connection:
        channel: Channel = connection.default_channel
        gathered: list[Addressed] = []
        channel.gathered = gathered
        producer = app.amqp.Producer(connection)
        for signature in signatures:
            refused: TransportError | None = None
            job = signature.options.get("task_id") or ""
            try:
                result = signature.apply_async(producer=producer, **options)
                job = result.id
            except TransportError as error:
                refused = error
            prepared.append((job, refused, len(gathered)))
        results = channel.send_gathered(gathered)
    fates: list[tuple[str, TransportError | None]] = []
    start = 0
    for job, refused, end in prepared:
        found = [error for error in results[start:end] if error is not None]
        fates.append((job, refused or (found[0] if found else None)))
        start = end
    return fates
