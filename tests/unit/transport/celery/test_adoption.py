"""Every task of an app on the transport gets its behaviour; the app's own methods stay first."""

from __future__ import annotations

from typing import Any

import celery
import pytest
from celery import Celery
from celery.app.trace import build_tracer
from celery.exceptions import ImproperlyConfigured, Retry
from celery.utils.imports import symbol_by_name
from celery.worker.request import Request as CeleryRequest

from sealwax.transport import Task
from sealwax.transport.celery.adoption import adopt_tasks, hook, is_on_transport
from sealwax.transport.celery.consumer import strategy
from sealwax.transport.celery.request import Request
from sealwax.transport.celery.retries import CopiedRetry


def make_app(**options: Any) -> Celery:
    return Celery("adopted", set_as_current=False, **({"broker": "sealwax://"} | options))


def add(app: Celery, base: type | None = None, **options: Any) -> Any:
    @app.task(name="one", bind=True, base=base, shared=False, **options)
    def one(self: Any) -> None:
        pass

    return app.tasks["one"]


@pytest.mark.parametrize(
    ("broker", "ours"),
    [
        ("sealwax://", True),
        ("redis://127.0.0.1;sealwax://", True),
        ("sealwax://;redis://127.0.0.1", True),
        ("sealwax://;nosuch://", True),
        ("memory://", False),
        ("memory://;nosuch://", False),
        ("sqs://", False),
    ],
)
def test_only_apps_on_the_transport_are_touched(broker: str, ours: bool) -> None:
    app = make_app(broker=broker)
    task = add(app, celery.Task)
    before = type(task)
    assert is_on_transport(app) is ours
    adopted = adopt_tasks(app)
    assert (task in adopted) is ours
    assert isinstance(task, Task) is ours
    assert isinstance(task, before)
    assert adopt_tasks(app) == []


def test_an_app_that_names_the_transports_class_is_on_it() -> None:
    app = make_app(broker=None)
    app.conf.broker_transport = "sealwax.transport:Transport"
    assert is_on_transport(app)


def test_celerys_own_tasks_are_adopted_too() -> None:
    app = make_app()
    assert {task.name for task in adopt_tasks(app)} >= {"celery.chord", "celery.backend_cleanup"}


class Silent(celery.Task):
    abstract = True


class Early(celery.Task):
    abstract = True
    acks_late = False


class StillEarly(Early):
    abstract = True


@pytest.mark.parametrize(
    ("base", "options", "conf", "late"),
    [
        (Silent, {}, {}, True),
        (Silent, {}, {"task_acks_late": False}, True),
        (Silent, {}, {"task_acks_late": True}, True),
        (Silent, {"acks_late": False}, {}, False),
        (Silent, {"acks_late": False}, {"task_acks_late": True}, False),
        (Early, {}, {}, False),
        (StillEarly, {}, {}, False),
        (StillEarly, {"acks_late": True}, {}, True),
        (Silent, {}, {"task_annotations": {"one": {"acks_late": False}}}, False),
        (Silent, {}, {"task_annotations": {"*": {"acks_late": False}}}, False),
        (Early, {}, {"task_annotations": {"one": {"acks_late": True}}}, True),
    ],
)
def test_early_acknowledgement_is_what_a_task_says_itself(
    base: type, options: dict[str, Any], conf: dict[str, Any], late: bool
) -> None:
    app = make_app()
    app.conf.update(conf)
    task = add(app, base, **options)
    adopt_tasks(app)
    assert task.acks_late is late


def test_what_is_set_on_the_task_object_counts_as_its_own_word() -> None:
    app = make_app()
    task = add(app, Silent)
    task.acks_late = False
    adopt_tasks(app)
    assert task.acks_late is False


class Mine(celery.Task):
    abstract = True
    tenant = "acme"

    def retry(self, *args: Any, **options: Any) -> Any:
        return f"mine, then {super().retry(*args, **options)}"

    def refuse(self) -> str:
        return "no"


def test_the_apps_methods_come_first_and_find_ours_behind() -> None:
    app = make_app()
    task = add(app, Mine)
    name, module = type(task).__name__, type(task).__module__
    adopt_tasks(app)
    assert (type(task).__name__, type(task).__module__) == (name, module)
    mro = type(task).__mro__
    assert mro.index(Mine) < mro.index(Task) < mro.index(celery.Task)
    assert task.Strategy == Task.Strategy
    assert symbol_by_name(task.Strategy) is strategy
    assert task.tenant == "acme"
    assert task.refuse() == "no"


class Deliberate(Task):
    abstract = True

    def refuse(self, message: Any) -> Any:
        return f"refused {message}"


class Unaware(Task):
    """What `class Base(app.Task)` makes of a name of ours."""

    abstract = True
    tenant = "acme"  # type: ignore[assignment]

    @property
    def on_expired(self) -> str:  # type: ignore[override]
        raise AssertionError("not to be asked")

    def refuse(self) -> str:  # type: ignore[override]
        return "no"


@pytest.mark.parametrize(
    ("base", "name", "ours"),
    [
        (Mine, "refuse", True),
        (Mine, "tenant", True),
        (Unaware, "refuse", True),
        (Unaware, "tenant", True),
        (Unaware, "on_expired", True),
        (Deliberate, "refuse", False),
        (Deliberate, "tenant", True),
    ],
)
def test_a_hook_is_a_method_that_was_meant_as_one(base: type, name: str, ours: bool) -> None:
    app = make_app()
    task = add(app, base)
    adopt_tasks(app)
    found: Any = hook(task, name)
    assert (found.__func__ is getattr(Task, name)) is ours
    assert found.__self__ is task


class OwnRequest(CeleryRequest):
    """A request of an app's own."""


class ModuleRequests(celery.Task):
    abstract = True
    Request = OwnRequest


def test_an_apps_request_comes_before_ours() -> None:
    app = make_app()
    task = add(app, ModuleRequests)
    adopt_tasks(app)
    mro = symbol_by_name(task.Request).__mro__
    assert mro.index(OwnRequest) < mro.index(Request) < mro.index(CeleryRequest)
    plain = app.tasks["celery.chord"]
    assert symbol_by_name(plain.Request) is Request


class Batching(celery.Task):
    abstract = True

    def Strategy(self, task: Any, app: Any, consumer: Any) -> Any:  # noqa: N802 - Celery's name
        raise AssertionError("not to be asked")


class Odd(celery.Task):
    abstract = True
    Request = dict


class Slotted(celery.Task):
    abstract = True
    __slots__ = ("more",)


class Own(type):
    """A metaclass that takes no more classes."""

    def __new__(cls, name: str, bases: tuple[type, ...], space: dict[str, Any]) -> Any:
        if len(bases) > 1:
            raise TypeError("one base")
        return super().__new__(cls, name, bases, space)


class Twice(type):
    """A metaclass that takes each name once."""

    def __new__(cls, name: str, bases: tuple[type, ...], space: dict[str, Any]) -> Any:
        if len(bases) > 1:
            raise LookupError(f"{name} twice")
        return super().__new__(cls, name, bases, space)


class Listed(celery.Task, metaclass=Twice):
    abstract = True


class Narrow(celery.Task, metaclass=Own):
    abstract = True


@pytest.mark.parametrize(
    ("base", "why"),
    [
        (Batching, "it has a Strategy of its own"),
        (Odd, "its Request is no class of Celery's requests"),
        (Narrow, "one base"),
        (Listed, "one twice"),
    ],
)
def test_what_cannot_be_adopted_is_named_and_nothing_changes(base: type, why: str) -> None:
    app = make_app()
    task = add(app, base)
    with pytest.raises(ImproperlyConfigured, match=why) as caught:
        adopt_tasks(app)
    assert "one (" in str(caught.value)
    assert "celery.chord" not in str(caught.value)
    assert not any(isinstance(other, Task) for other in app.tasks.values())
    assert not isinstance(task, Task)


def test_slots_do_not_hinder() -> None:
    app = make_app()
    task = add(app, Slotted)
    task.more = 1
    adopt_tasks(app)
    assert isinstance(task, Task)
    assert task.more == 1


def test_a_tracer_made_before_goes_on_without_tracebacks() -> None:
    app = make_app()

    @app.task(name="fails", base=celery.Task, shared=False)
    def fails() -> None:
        raise ValueError

    task = app.tasks["fails"]
    task.__trace__ = build_tracer(task.name, task, app=app)
    adopt_tasks(app)
    assert task.__trace__("job", (), {}, {"id": "job"})[0].tb is None


class Straight(celery.Task):
    """Calls Celery's retry by its name, past whatever stands between."""

    abstract = True

    def retry(self, *args: Any, **options: Any) -> Any:
        return celery.Task.retry(self, *args, **options)


class Both(Straight, Task):
    abstract = True


def test_a_retry_that_celery_published_is_known_as_a_copy() -> None:
    app = make_app(broker="memory://", task_cls=Straight)
    sent: list[str] = []

    @app.task(name="again", bind=True, base=Both, shared=False)
    def again(self: Any) -> None:
        sent.append(self.request.id)
        raise self.retry(countdown=3, exc=OSError("why"))

    task = app.tasks["again"]
    task.__trace__ = build_tracer(task.name, task, app=app)
    request = {"id": "job", "delivery_info": {"sqs": {}}, "called_directly": False}
    found = task.__trace__("job", (), {}, request)[0].exception
    error = getattr(found, "exc", found) if not isinstance(found, Retry) else found
    assert isinstance(error, CopiedRetry)
    assert error.when == 3
    assert isinstance(error.exc, OSError)
    assert len(sent) == 1
