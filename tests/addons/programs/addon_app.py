"""What the programs of all add-ons share: the app, notes, four plain tasks.

`ADDON_BROKER` is the broker; nothing else differs between stock Celery and ours. Each job's
id is the name of its case, so that what libraries note of ids can be compared.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Celery, chain, chord, group, signals
from celery._state import get_current_worker_task

BROKER = os.environ["ADDON_BROKER"]
FOLDER = os.environ["ADDON_FOLDER"]
REDIS = os.environ["ADDON_REDIS"]
if BROKER.startswith("sealwax"):
    import sealwax.transport  # noqa: F401 - makes the URL's scheme known

Case = Callable[[], Any]


def configured(app: Any, **conf: Any) -> Any:
    """Configure an app alike on both sides."""
    queue = os.environ["ADDON_QUEUE"]
    app.conf.update(
        broker_url=BROKER,
        broker_connection_retry_on_startup=True,
        result_backend="file://" + FOLDER + "/results",
        task_default_queue=queue,
        task_create_missing_queues=True,
        worker_hijack_root_logger=False,
        result_chord_retry_interval=0.2,
        # As ours does whatever this says.
        task_acks_late=True,
    )
    app.conf.update(conf)
    app.set_default()
    # The add-ons' receivers came first, as they were connected before.
    signals.task_postrun.connect(over, weak=False)
    return app


def over(sender: Any, task_id: str, state: str, **_: Any) -> None:
    """Note the end of an attempt, after all hooks of the task."""
    note("over", id=task_id, state=state, task=sender.name)


def make_app(**conf: Any) -> Celery:
    return configured(Celery("addons"), **conf)


def note(event: str, **fields: Any) -> None:
    """Append one line to the notes, whole; `run` is the job whose run it belongs to."""
    task = get_current_worker_task()
    fact = {"event": event, "run": task.request.id if task else None, **fields}
    line = json.dumps(fact, default=str, sort_keys=True) + "\n"
    path = FOLDER + "/notes.jsonl"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def notes() -> list[dict[str, Any]]:
    """Return what was noted so far."""
    text = Path(FOLDER, "notes.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def add_tasks(app: Any, observe: Callable[[], Any] = lambda: None, **options: Any) -> Any:
    """Register the plain tasks, with an add-on's options; return them by name."""

    @app.task(name="add", bind=True, **options)
    def add(self: Any, one: int, other: int = 0) -> int:
        note("ran", retries=self.request.retries, seen=observe())
        return one + other

    @app.task(name="fail", bind=True, **options)
    def fail(self: Any, one: int) -> None:
        note("ran", retries=self.request.retries, seen=observe())
        raise ValueError(f"why {one}")

    @app.task(name="again", bind=True, max_retries=3, **options)
    def again(self: Any, one: int) -> str:
        note("ran", retries=self.request.retries, seen=observe())
        if self.request.retries < 1:
            raise self.retry(countdown=0, exc=OSError("down"))
        return "done"

    @app.task(name="spent", bind=True, max_retries=1, **options)
    def spent(self: Any, one: int) -> None:
        note("ran", retries=self.request.retries, seen=observe())
        raise self.retry(countdown=0, exc=OSError("down"))

    @app.task(name="auto", bind=True, autoretry_for=(OSError,), default_retry_delay=0, **options)
    def auto(self: Any, one: int) -> str:
        note("ran", retries=self.request.retries, seen=observe())
        if self.request.retries < 2:
            raise OSError("down")
        return "done"

    return app.tasks


def plain_cases(tasks: Any) -> dict[str, Case]:
    """Return the cases of the plain tasks: a result, a failure, retries, a chain, a chord."""

    def sent(name: str, *args: Any) -> Case:
        return lambda: tasks[name].apply_async(args, task_id=name)

    add = tasks["add"]
    return {
        "add": sent("add", 1, 2),
        "fail": sent("fail", 1),
        "again": sent("again", 2),
        "spent": sent("spent", 3),
        "auto": sent("auto", 4),
        "chain": lambda: chain(
            named(add.s(3), "chain-3"), named(add.s(4), "chain-4")
        ).apply_async(),
        "group": lambda: group(named(add.s(n), f"group-{n}") for n in (5, 6)).apply_async(),
        "chord": lambda: chord(
            [named(add.s(7), "chord-7")], named(add.si(8), "chord-8")
        ).apply_async(),
    }


def named(task: Any, name: str) -> Any:
    """Give a signature its job's id."""
    return task.set(task_id=name)
