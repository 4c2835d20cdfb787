"""Outcomes of failed attempts go to the worker's main process without their tracebacks."""

from __future__ import annotations

import pickle
from typing import Any

from celery import Celery
from celery.app.trace import build_tracer

from sealwax.transport.celery.task import without_traceback


def traced(task: Any) -> Any:
    task.__trace__ = build_tracer(task.name, task, app=task.app)
    return task.__trace__("job", (), {}, {"id": "job"})


def make_app() -> Celery:
    return Celery(
        "traced",
        broker="memory://",
        task_cls="sealwax.transport:Task",
        set_as_current=False,
    )


def test_a_failure_is_sent_without_its_traceback_but_hooks_see_it() -> None:
    app = make_app()
    seen: list[str] = []

    def look(self: Any, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        seen.append(einfo.traceback)

    @app.task(name="fails", on_failure=look, bind=True)
    def fails(self: Any) -> None:
        raise ValueError("why")

    found = traced(app.tasks["fails"])[0]
    assert "ValueError: why" in seen[0]
    assert found.tb is None
    assert not found.traceback
    copy = pickle.loads(pickle.dumps(found))
    assert repr(copy.exception) == "ValueError('why')"
    assert len(pickle.dumps(found)) < 500


def test_a_result_stays_as_it_is() -> None:
    app = make_app()

    @app.task(name="returns")
    def returns() -> dict[str, int]:
        return {"a": 1}

    assert traced(app.tasks["returns"])[0] == {"a": 1}


def test_a_task_that_no_worker_has_has_no_tracer() -> None:
    app = make_app()

    @app.task(name="idle")
    def idle() -> None:
        pass

    assert app.tasks["idle"].__trace__ is None
    app.tasks["idle"].__trace__ = None
    assert app.tasks["idle"].__trace__ is None
    assert without_traceback(lambda: (1, None))() == (1, None)
