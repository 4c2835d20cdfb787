"""django-structlog: what is bound where a job is sent stands in the log lines of its runs."""

from __future__ import annotations

import os
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "django_settings"

import django

django.setup()

import structlog
from addon_app import add_tasks, make_app, note, plain_cases  # type: ignore[import-not-found]
from django.dispatch import receiver
from django_structlog.celery import signals
from django_structlog.celery.steps import DjangoStructLogInitStep

app = make_app()
app.steps["worker"].add(DjangoStructLogInitStep)


def noting(_logger: Any, method: str, event: dict[str, Any]) -> Any:
    """Note a log line instead of writing it."""
    event.pop("duration_ms", None)
    error = event.pop("exception", None)
    sent = event.get("event") == "task_enqueued"
    # What the worker's main process logs has no run of its own.
    other = {"run": event.get("task_id")} if event.get("event") == "task_revoked" else {}
    note(
        "published" if sent else "log", id=event.get("child_task_id"), method=method,
        error=repr(error), line=event, **other,
    )  # fmt: skip
    raise structlog.DropEvent


structlog.configure(
    processors=[structlog.contextvars.merge_contextvars, noting],
    cache_logger_on_first_use=False,
)


@receiver(signals.bind_extra_task_metadata)
def bind_extra(sender: Any, task: Any = None, logger: Any = None, **_: Any) -> None:
    structlog.contextvars.bind_contextvars(retries=task.request.retries)


@receiver(signals.modify_context_before_task_publish)
def modify(sender: Any, context: Any, **_: Any) -> None:
    context["added"] = True


tasks = add_tasks(app, observe=structlog.contextvars.get_contextvars)


@app.task(name="expected", throws=(KeyError,))
def expected() -> None:
    structlog.get_logger("mine").info("about to fail", mine=1)
    raise KeyError("expected")


def in_a_request(name: str, run: Any) -> Any:
    """Send a case as a view would, with a request's context bound."""
    with structlog.contextvars.bound_contextvars(request_id=name, user_id=5):
        return run()


CASES = {
    **plain_cases(tasks),
    "expected": lambda: expected.apply_async((), task_id="expected"),
    "expired": lambda: tasks["add"].apply_async((1,), task_id="expired", expires=-5),
}
CASES = {
    name: (lambda name=name, run=run: in_a_request(name, run))  # type: ignore[misc]
    for name, run in CASES.items()
}
