"""django-celery-results: results, groups and chords in Django's database."""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "django_settings"

import django

django.setup()

from addon_app import add_tasks, make_app, note, plain_cases  # type: ignore[import-not-found]
from celery import group
from django.core.management import call_command
from django.db import connection
from django_celery_results.models import ChordCounter, GroupResult, TaskResult

if "worker" in sys.argv:
    call_command("migrate", verbosity=0)
    connection.close()

app = make_app(result_backend="django-db", result_extended=True, task_track_started=True)
tasks = add_tasks(app)


@app.task(name="half", bind=True)
def half(self: Any) -> None:
    """Look up its own result while it runs, as Django's connection has it."""
    self.update_state(state="HALF", meta={"done": 1})
    row = TaskResult.objects.get(task_id=self.request.id)
    note("ran", status=row.status, result=row.result)


def saved() -> Any:
    found = group(tasks["add"].s(n).set(task_id=f"saved-{n}") for n in (1, 2)).apply_async()
    found.save()
    return found


CASES = {
    **plain_cases(tasks),
    "half": lambda: half.apply_async((), task_id="half"),
    "saved": saved,
}


def look() -> None:
    for row in TaskResult.objects.order_by("date_created", "id"):
        note(
            "row", id=row.task_id, task=row.task_name, status=row.status, result=row.result,
            args=row.task_args, kwargs=row.task_kwargs, meta=row.meta,
            traceback=(row.traceback or "").strip().splitlines()[-1:],
            worker=bool(row.worker), started=bool(row.date_started), done=bool(row.date_done),
            content=(row.content_type, row.content_encoding), periodic=row.periodic_task_name,
        )  # fmt: skip
    note("tables", chords=ChordCounter.objects.count(), groups=GroupResult.objects.count())
