"""A Celery app that makes its tasks in every way that Celery has, none of them ours.

`LAB_TASK_CLS` names the app's task class: nothing, `class`, `string`, `flask` or `ours`; with
`named` the configuration names the transport's class, and nothing of ours is imported.
Each way makes `<way>.bad`, which raises, `<way>.again`, which retries twice, and
`<way>.slow`, which sleeps.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any, ClassVar

import celery
from celery import Celery, shared_task
from celery.worker.request import Request
from flask import Flask, current_app
from lab_app import note  # type: ignore[import-not-found]

WAY = os.environ.get("LAB_TASK_CLS", "")
if WAY != "named":
    import sealwax.transport  # noqa: F401 - makes the URL's scheme known

flask_app = Flask("shop")


class FlaskTask(celery.Task):
    """What Flask's documentation has: a task in its app's context."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with flask_app.app_context():
            note("context", name=current_app.name)
            return self.run(*args, **kwargs)


class Plain(celery.Task):
    """A base class as many apps have one, with names that the transport knows otherwise."""

    abstract = True
    tenant = "acme"

    def refuse(self) -> str:
        return "no"

    def on_expired(self) -> None:
        raise AssertionError("not a hook of the transport's")

    def _copy(self) -> None:
        raise AssertionError("not the transport's")

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note("hook", name=self.name, tenant=self.tenant)
        super().on_failure(exc, task_id, args, kwargs, einfo)


class Sure(Plain):
    """A retry of its own that goes on to Celery's by name."""

    abstract = True

    def retry(self, *args: Any, **options: Any) -> Any:
        return celery.Task.retry(self, *args, **options)


class Mixin:
    """A mixin that is no task."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        note("mixin", name=self.name)  # type: ignore[attr-defined]


class Mixed(Mixin, celery.Task):
    abstract = True


class Registering(type):
    """A metaclass that keeps a list of its classes."""

    made: ClassVar[list[str]] = []

    def __init__(cls, name: str, bases: tuple[type, ...], space: dict[str, Any]) -> None:
        super().__init__(name, bases, space)
        cls.made.append(name)


class Listed(celery.Task, metaclass=Registering):
    abstract = True


class OwnRequest(Request):
    """A request of the app's own."""

    def on_failure(self, exc_info: Any, *args: Any, **options: Any) -> Any:
        note("request", name=self.task.name)
        return super().on_failure(exc_info, *args, **options)


class Asking(celery.Task):
    abstract = True
    Request = OwnRequest


CLASSES: dict[str, Any] = {
    "": None,
    "class": Plain,
    "string": "class_app:Plain",
    "flask": FlaskTask,
    "ours": "sealwax.transport:Task",
    "named": Plain,
}
app = Celery("classes", broker=None if WAY == "named" else "sealwax://", task_cls=CLASSES[WAY])
app.conf.update(
    {
        "broker_transport_options": json.loads(os.environ["LAB_OPTIONS"]),
        "task_default_queue": os.environ["LAB_QUEUE"],
        "task_ignore_result": True,
        "broker_transport": "sealwax.transport:Transport" if WAY == "named" else None,
        **json.loads(os.environ["LAB_CONF"]),
    }
)
app.set_default()
app.autodiscover_tasks(["class_app_found"], related_name=None)


def bad(self: Any) -> None:
    note("bad", name=self.name)
    raise KeyError("why")


def again(self: Any) -> None:
    note("again", name=self.name, retries=self.request.retries)
    if self.request.retries < 2:
        raise self.retry(countdown=0, max_retries=5)


def slow(self: Any, seconds: float) -> None:
    note("start", name=self.name)
    time.sleep(seconds)
    note("end", name=self.name)


BODIES = {"bad": bad, "again": again, "slow": slow}


def decorate(way: str, decorator: Callable[..., Any]) -> None:
    """Make a way's three tasks by a decorator."""
    for name, body in BODIES.items():
        decorator(name=f"{way}.{name}", bind=True)(body)


def register(way: str, *bases: type, **members: Any) -> None:
    """Make a way's three tasks as classes, and register an instance of each."""
    for name, body in BODIES.items():
        space = {"name": f"{way}.{name}", "run": body, **members}
        kind: Any = type(bases[0])
        app.register_task(kind(f"{way}_{name}", bases, space)())


def with_base(base: Any, **more: Any) -> Callable[..., Any]:
    """Return the app's decorator with a base."""
    return lambda **options: app.task(**options, base=base, **more)


decorate("plain", app.task)
decorate("shared", shared_task)
decorate("base", with_base(Plain))
decorate("base-shared", lambda **options: shared_task(**options, base=Plain))
decorate("base-eager", with_base(Plain, lazy=False))
decorate("base-app", with_base(type("OfApp", (app.Task,), {"abstract": True})))
decorate("flask", with_base(FlaskTask))
decorate("sure", with_base(Sure))
decorate("mixed", with_base(Mixed))
decorate("listed", with_base(Listed))
decorate("asking", with_base(Asking))
decorate("late-said", with_base(Plain, acks_late=True))
decorate("auto", with_base(Plain, autoretry_for=(ConnectionError,), retry_backoff=True))
register("class", celery.Task)
register("class-base", Plain)
register("class-mixed", Mixin, celery.Task)
register("class-ignoring", Plain, ignore_result=True, max_retries=7)
WAYS = (
    "plain", "shared", "base", "base-shared", "base-eager", "base-app", "flask", "sure", "mixed",
    "listed", "asking", "late-said", "auto", "class", "class-base", "class-mixed",
    "class-ignoring", "found",
)  # fmt: skip
