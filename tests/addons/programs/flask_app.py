"""Flask-SQLAlchemy: each run has an app context, whose teardown removes the session."""

from __future__ import annotations

import sys
from typing import Any

from addon_app import FOLDER, add_tasks, configured, note, plain_cases  # type: ignore[import-not-found]
from celery import Celery, Task
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Integer
from sqlalchemy.orm import Mapped, mapped_column

flask = Flask("addons")
flask.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{FOLDER}/db.sqlite3"
db = SQLAlchemy(flask)


class Row(db.Model):  # type: ignore[name-defined,misc]
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    number: Mapped[int] = mapped_column(Integer)


if "worker" in sys.argv:
    with flask.app_context():
        db.create_all()
        db.engine.dispose()


class FlaskTask(Task):
    """As Flask's documentation has it."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        with flask.app_context():
            return self.run(*args, **kwargs)


@flask.teardown_appcontext
def torn_down(error: BaseException | None) -> None:
    note("teardown", error=type(error).__name__, session=db.session.registry.has())


app = configured(Celery("addons", task_cls=FlaskTask))
app.set_default()
flask.extensions["celery"] = app


def observe() -> Any:
    """Look at the session that a run begins with, and leave a row that nobody commits."""
    begun = db.session.registry.has()
    db.session.add(Row(number=1))
    db.session.flush()
    return {"begun": begun, "rows": db.session.query(Row).count()}


tasks = add_tasks(app, observe=observe)


@app.task(name="keep", bind=True, max_retries=2)
def keep(self: Any, number: int) -> int:
    """Commit one row, and ask for another attempt with one that is not committed."""
    seen = db.session.query(Row).count()
    db.session.add(Row(number=number))
    if self.request.retries < 1:
        db.session.flush()
        raise self.retry(countdown=0)
    db.session.commit()
    note("ran", seen=seen)
    return db.session.query(Row).count()


@app.task(name="broken", bind=True)
def broken(self: Any) -> None:
    """Leave a session that only a rollback mends."""
    db.session.add(Row(id=1, number=1))
    db.session.add(Row(id=1, number=2))
    db.session.flush()


CASES = {
    **plain_cases(tasks),
    "keep": lambda: keep.apply_async((5,), task_id="keep"),
    "broken": lambda: broken.apply_async((), task_id="broken"),
    "after": lambda: tasks["add"].apply_async((1, 2), task_id="after"),
}


def look() -> None:
    with flask.app_context():
        note("rows", numbers=[row.number for row in db.session.query(Row)])
