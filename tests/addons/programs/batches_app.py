"""celery-batches: one run for many messages, which its own strategy settles."""

from __future__ import annotations

from typing import Any

from addon_app import make_app, note  # type: ignore[import-not-found]
from celery.result import GroupResult
from celery_batches import Batches

app = make_app()


@app.task(name="count", base=Batches, flush_every=3, flush_interval=1)
def count(requests: Any) -> None:
    note("ran", arguments=sorted(request.args[0] for request in requests))
    for request in requests:
        app.backend.mark_as_done(request.id, len(requests), request=request)


CASES = {
    "three": lambda: GroupResult("three", [count.delay(number) for number in (1, 2, 3)]),
    "two": lambda: GroupResult("two", [count.delay(number) for number in (4, 5)]),
}
