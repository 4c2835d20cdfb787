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


def sent(number: int) -> Any:
    return count.apply_async((number,), task_id=f"count-{number}")


def gone(name: str) -> bool:
    """Say whether all jobs of a case have ended; a run is none of a single job's."""
    numbers = {"three": (1, 2, 3), "two": (4, 5)}[name]
    return all(app.AsyncResult(f"count-{number}").ready() for number in numbers)


CASES = {
    "three": lambda: GroupResult("three", [sent(number) for number in (1, 2, 3)]),
    "two": lambda: GroupResult("two", [sent(number) for number in (4, 5)]),
}
