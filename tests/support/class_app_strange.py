"""The same app with two tasks whose classes handle messages in ways of their own."""

from __future__ import annotations

from typing import Any

import celery
from class_app import app  # type: ignore[import-not-found]


class Batching(celery.Task):
    abstract = True

    def Strategy(self, task: Any, app: Any, consumer: Any) -> Any:  # noqa: N802 - Celery's name
        raise AssertionError("not to be asked")


class Odd(celery.Task):
    abstract = True
    Request = "builtins:dict"


@app.task(name="strange.one", base=Batching)
def one() -> None:
    pass


@app.task(name="strange.two", base=Odd)
def two() -> None:
    pass
