"""Tasks that expire, and tasks that meet their soft time limit, each in another way."""

from __future__ import annotations

import time
from typing import Any

from celery import signals
from celery.exceptions import SoftTimeLimitExceeded
from lab_app import app, note  # type: ignore[import-not-found]


@signals.task_revoked.connect
def revoked(sender: Any, request: Any, **facts: Any) -> None:
    facts.pop("signal")
    note("revoked", name=sender.name, id=request.id, args=request.args, **facts)


def wait() -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(0.05)


@app.task(name="soft.uncaught", soft_time_limit=1)
def uncaught() -> None:
    wait()


@app.task(name="soft.message")
def by_message() -> None:
    wait()


@app.task(name="soft.retried", bind=True, soft_time_limit=1, max_retries=2)
def retried(self: Any) -> None:
    note("soft", name=self.name)
    try:
        wait()
    except SoftTimeLimitExceeded as error:
        raise self.retry(exc=error, countdown=0) from error


@app.task(
    name="soft.auto", bind=True, soft_time_limit=1, max_retries=1, default_retry_delay=0,
    autoretry_for=(SoftTimeLimitExceeded,),
)  # fmt: skip
def auto(self: Any) -> None:
    note("soft", name=self.name)
    wait()


@app.task(name="soft.caught", bind=True, soft_time_limit=1)
def caught(self: Any) -> None:
    try:
        wait()
    except SoftTimeLimitExceeded:
        note("soft", name=self.name)
