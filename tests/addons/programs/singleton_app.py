"""celery-singleton: a second job with the same arguments is the first; locks are in Redis."""

from __future__ import annotations

from typing import Any

import redis
from addon_app import REDIS, add_tasks, make_app, note, notes, plain_cases  # type: ignore[import-not-found]
from celery_singleton import Singleton, clear_locks  # type: ignore[import-not-found]

app = make_app(singleton_backend_url=REDIS, singleton_lock_expiry=600)


def locks() -> int:
    # Their names are hashes.
    return len(redis.Redis.from_url(REDIS).keys("SINGLETONLOCK_*"))


class Noting(Singleton):
    """Notes that a job was taken for one that exists."""

    abstract = True

    def on_duplicate(self, existing_task_id: str) -> Any:
        note("duplicate", id=existing_task_id)
        return super().on_duplicate(existing_task_id)


tasks = add_tasks(app, observe=locks, base=Noting)


@app.task(name="loud", base=Singleton, raise_on_duplicate=True)
def loud(one: int) -> int:
    return one


@app.task(name="unique", base=Singleton, unique_on=["one"])
def unique(one: int, other: int) -> int:
    note("ran", seen=locks())
    return one + other


def twice(task: Any, *argument_lists: tuple[int, ...]) -> Any:
    """Send a task for later, and again at once."""
    first = task.apply_async(argument_lists[0], countdown=2, task_id=f"{task.name}-first")
    try:
        note("second", id=task.apply_async(argument_lists[-1]).id)
    except Exception as error:  # noqa: BLE001 - compared
        note("second", error=type(error).__name__)
    return first


plain = plain_cases(tasks)
#: Stock takes them for duplicates of themselves when they ask for another attempt.
RETRYING = ("again", "spent", "auto")
CASES = {
    **{name: run for name, run in plain.items() if name not in RETRYING},
    "twice": lambda: twice(tasks["add"], (1, 1)),
    "twice, failing": lambda: twice(tasks["fail"], (9,)),
    "twice, loud": lambda: twice(loud, (5,)),
    "twice, by a key": lambda: twice(unique, (1, 2), (1, 3)),
    "once more": lambda: tasks["add"].apply_async((1, 1), task_id="once more"),
    **{name: plain[name] for name in RETRYING},
}


def gone(name: str) -> bool:
    """Say whether the job that wanted to be tried again was taken for its own duplicate."""
    return name in RETRYING and any(
        said["event"] == "duplicate" and said["run"] == name for said in notes()
    )


def look() -> None:
    note("left", locks=locks())
    clear_locks(app)
    note("cleared", locks=locks())
