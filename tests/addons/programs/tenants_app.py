"""tenant-schemas-celery: a task runs in the schema in which it was sent."""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "tenants_settings"

import django

django.setup()

from addon_app import add_tasks, configured, note, plain_cases  # type: ignore[import-not-found]
from celery import Task, signals
from django.db import connection
from django_tenants.utils import schema_context
from tenant_schemas_celery.app import CeleryApp
from tenant_schemas_celery.task import TenantTask
from tenants.models import Tenant

if "worker" in sys.argv:
    with connection.schema_editor() as editor:
        editor.create_model(Tenant)
    Tenant.objects.create(schema_name="acme")
    Tenant.objects.create(schema_name="other")
    connection.close()

app = configured(CeleryApp("addons"))
tasks = add_tasks(app, observe=lambda: connection.schema_name)


@signals.task_postrun.connect(weak=False)
def after(task_id: str, **_: Any) -> None:
    note("after", schema=connection.schema_name)


class Own(TenantTask):
    """A task class of the app's own."""

    abstract = True

    def on_success(self, *args: Any) -> None:
        note("on_success", schema=connection.schema_name)


@app.task(name="own", base=Own)
def own() -> str:
    return str(connection.schema_name)


@app.task(name="sends", bind=True)
def sends(self: Any) -> str:
    """Send another task from within, in the tenant's schema and in another's."""
    found = [tasks["add"].apply_async((1,), task_id="inner").id]
    with schema_context("other"):
        found.append(app.send_task("add", (2,), task_id="inner other").id)
    return " ".join(found)


class Based(Task):
    """A class-based task, which the registry of that app makes one of its own."""

    name = "based"

    def run(self) -> str:
        note("ran", schema=connection.schema_name)
        return str(connection.schema_name)


app.register_task(Based())


def within(schema: str, run: Any) -> Any:
    with schema_context(schema):
        return run()


CASES = {
    **{name: (lambda run=run: within("acme", run)) for name, run in plain_cases(tasks).items()},
    "public": lambda: tasks["add"].apply_async((1,), task_id="public"),
    "named": lambda: within("other", lambda: app.send_task("add", (9,), task_id="named")),
    "own": lambda: within("other", lambda: own.apply_async(task_id="own")),
    "based": lambda: within("acme", lambda: app.tasks["based"].apply_async(task_id="based")),
    "sends": lambda: within("acme", lambda: sends.apply_async(task_id="sends")),
    "inner": lambda: app.AsyncResult("inner"),
    "inner other": lambda: app.AsyncResult("inner other"),
    "nobody's": lambda: within(
        "other",
        lambda: tasks["add"].apply_async((1,), task_id="nobody", headers={"_schema_name": None}),
    ),
}
