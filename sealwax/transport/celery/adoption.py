"""What makes every task of an app one of the transport's, whatever its class.

Celery takes a task's handler, request and retry from its class, and an app may
bring classes of its own (`base=`, a `task_cls`, `register_task`). Their messages
would be acknowledged early, and gone when the task raises or its worker dies. So a
worker puts `sealwax.transport.Task` behind the class of each such task, before it
forks: the app's methods come first, and their `super()` finds ours.
"""

from __future__ import annotations

import contextlib
import inspect
import types
from collections.abc import Callable
from functools import cache
from typing import Any

from celery.app.annotations import resolve_all as resolve_annotations
from celery.exceptions import ImproperlyConfigured
from celery.utils.imports import symbol_by_name
from celery.worker.request import Request as CeleryRequest
from kombu.transport import get_transport_cls

from sealwax.transport.celery.task import Task
from sealwax.transport.transport import Transport

__all__ = ["adopt_tasks", "hook", "is_on_transport"]

#: In the namespace of the classes that are made here.
_ADOPTED = "__sealwax_adopted__"

_STOCK_STRATEGY = "celery.worker.strategy:default"


def is_on_transport(app: Any) -> bool:
    """Whether a broker that the app's workers read from is this transport."""
    connection = app.connection_for_read()
    found: list[Any] = []
    # One that cannot be loaded is not ours; Celery says so when it needs it.
    with contextlib.suppress(KeyError, ImportError, AttributeError):
        found.append(connection.get_transport_cls())
    for url in connection.alt or ():
        with contextlib.suppress(KeyError, ImportError, AttributeError):
            found.append(get_transport_cls(url.partition("://")[0]))
    return any(isinstance(one, type) and issubclass(one, Transport) for one in found)


def adopt_tasks(app: Any) -> list[Any]:
    """Give each task of an app on this transport its behaviour; return those that lacked it.

    Raises
    ------
    celery.exceptions.ImproperlyConfigured
        Names the tasks whose classes handle messages in ways of their own. Nothing is changed then.
    """
    if not is_on_transport(app):
        return []
    strangers = [task for task in app.tasks.values() if not isinstance(task, Task)]
    classes: list[type] = []
    refused: list[str] = []
    for task in strangers:
        try:
            classes.append(_adopted_class(task, app))
        except Exception as error:  # noqa: BLE001 - metaclasses are the app's
            refused.append(f"{task.name} ({error})")
    if refused:
        raise ImproperlyConfigured(
            "the Sealwax transport cannot keep the messages of these tasks: "
            + ", ".join(sorted(refused))
            + ". Derive their classes from sealwax.transport.Task, or run them on another broker"
        )
    for task, adopted in zip(strangers, classes, strict=True):
        tracer = task.__dict__.pop("__trace__", None)
        task.__class__ = adopted
        if tracer is not None:
            task.__trace__ = tracer
    return strangers


def hook(task: Any, name: str) -> Callable[..., Any]:
    """Return the method of a task by which the transport asks it, bound.

    A class that never heard of the transport may use such a name for something else:
    then it is the transport's own.
    """
    if not isinstance(task, Task):  # a handler's own stand-in for a task
        found: Callable[..., Any] = getattr(task, name)
        return found
    cls: Any = type(task)
    return types.MethodType(_function(cls, name), task)


@cache
def _function(cls: Any, name: str) -> Callable[..., Any]:  # once a class: messages ask
    ours: Callable[..., Any] = getattr(Task, name)
    found = inspect.getattr_static(cls, name)
    if getattr(cls, _ADOPTED, False) or not inspect.isfunction(found):
        return ours
    try:
        inspect.signature(found).bind(*inspect.signature(ours).parameters)
    except TypeError:
        return ours
    return found


def _adopted_class(task: Any, app: Any) -> type:
    """Return a subclass of a task's class that has our `Task` behind the app's own methods.

    Raises
    ------
    TypeError
        Says what keeps it from that.
    """
    cls = type(task)
    if symbol_by_name(task.Strategy) is not symbol_by_name(_STOCK_STRATEGY):
        raise TypeError("it has a Strategy of its own")
    members = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        _ADOPTED: True,
        "Strategy": Task.Strategy,
        "Request": _request_class(task),
        "acks_late": _acks_late(task, app),
    }
    adopted = types.new_class(cls.__name__, (cls, Task), {}, lambda space: space.update(members))
    # Python decides by the classes' layouts whether an object can change its class.
    object.__new__(cls).__class__ = adopted
    return adopted


def _request_class(task: Any) -> Any:
    found = symbol_by_name(task.Request)
    ours = symbol_by_name(Task.Request)
    if found is CeleryRequest:
        return Task.Request
    if not (isinstance(found, type) and issubclass(found, CeleryRequest)):
        raise TypeError("its Request is no class of Celery's requests")
    if issubclass(found, ours):
        return found
    return types.new_class(found.__name__, (found, ours))


def _acks_late(task: Any, app: Any) -> bool:
    """Return whether to acknowledge late: yes, unless the task or its class says no itself.

    The setting `task_acks_late` does not count: Celery writes its default, no, into each
    class that is silent. What it wrote stands behind `__bound__` in the class's namespace,
    which keeps the order of writing.
    """
    if "acks_late" in task.__dict__:
        return bool(task.__dict__["acks_late"])
    for annotation in resolve_annotations(app.annotations, type(task)):
        if annotation.get("acks_late") is not None:
            return bool(annotation["acks_late"])
    for cls in type(task).__mro__:
        names = list(vars(cls))
        if "acks_late" not in names or vars(cls)["acks_late"] is None:
            continue
        bound = names.index("__bound__") if "__bound__" in names else len(names)
        if names.index("acks_late") < bound:
            return bool(vars(cls)["acks_late"])
    return True
