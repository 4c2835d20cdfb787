"""celery-once: a task that is queued already is not queued again; locks are in Redis."""

from __future__ import annotations

from typing import Any

import redis
from addon_app import REDIS, add_tasks, make_app, note, plain_cases  # type: ignore[import-not-found]
from celery_once import QueueOnce  # type: ignore[import-not-found]

app = make_app(
    ONCE={
        "backend": "celery_once.backends.Redis",
        "settings": {"url": REDIS, "default_timeout": 600},
    }
)


def locks() -> list[str]:
    return sorted(key.decode() for key in redis.Redis.from_url(REDIS).keys("qo_*"))


tasks = add_tasks(app, observe=locks, base=QueueOnce)


@app.task(name="early", base=QueueOnce, once={"unlock_before_run": True, "graceful": True})
def early(one: int) -> int:
    note("ran", seen=locks())
    return one


@app.task(name="keyed", base=QueueOnce, once={"keys": ["one"]})
def keyed(one: int, other: int) -> int:
    note("ran", seen=locks())
    return one + other


def twice(task: Any, *argument_lists: tuple[int, ...], **options: Any) -> Any:
    """Send a task for later, and again at once."""
    first = task.apply_async(argument_lists[0], countdown=2, task_id=f"{task.name}-first")
    try:
        again = task.apply_async(argument_lists[-1], **options)
        note("second", state=again.state, id=again.id)
    except Exception as error:  # noqa: BLE001 - compared
        note("second", error=type(error).__name__)
    return first


CASES = {
    **plain_cases(tasks),
    "twice": lambda: twice(tasks["add"], (1, 1)),
    "twice, graceful": lambda: twice(tasks["fail"], (9,), once={"graceful": True}),
    "twice, early": lambda: twice(early, (5,)),
    "twice, by a key": lambda: twice(keyed, (1, 2), (1, 3)),
    "once more": lambda: tasks["add"].apply_async((1, 1), task_id="once more"),
}


def look() -> None:
    note("left", locks=locks())
