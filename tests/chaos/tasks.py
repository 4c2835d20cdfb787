"""The tasks of the chaos suite: the shipped ones, each run noted in a journal, and three more.

Named by `task_modules` of the suite's configuration. The journal (an
append-only file named by CHAOS_JOURNAL) is the suite's own record of which
process ran which attempt; the product does not know of it.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import requests
from pydantic import BaseModel, JsonValue

from sealwax.job import Job
from sealwax.retry import RetryPolicy
from sealwax.task_definition import task
from tasks import customers, exports, webhooks

#: Waits that fit into a run of minutes.
PATIENT = RetryPolicy(attempts=10, base=0.5, cap=8)
BRIEF = RetryPolicy(attempts=3, base=0.2, cap=2)


def note(event: str, job: Job) -> None:
    """Append one line to the journal, whole, before going on."""
    line = {
        "event": event,
        "job": job.id,
        "attempt": job.attempt,
        "at": time.time(),
        "pid": os.getpid(),
        # Each incarnation of a role leads a session of its own.
        "session": os.getsid(0),
    }
    path = os.environ["CHAOS_JOURNAL"]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


def noted(function: Callable[[Any, Job], Any]) -> Callable[[Any, Job], Any]:
    """Return the function with its runs noted."""

    def run(payload: Any, job: Job) -> Any:
        note("start", job)
        try:
            return function(payload, job)
        finally:
            note("end", job)

    run.__doc__ = function.__doc__
    return run


relay = replace(webhooks.relay, function=noted(webhooks.relay.function), retry=PATIENT)
relay_aside = replace(relay, name="webhooks.relay_aside", lane="threads")
relay_briefly = replace(relay, name="webhooks.relay_briefly", retry=BRIEF)
sync = replace(
    customers.sync, function=noted(customers.sync.function), retry=PATIENT, lane="threads"
)
export = replace(exports.export, function=noted(exports.export.function), retry=PATIENT)


class Work(BaseModel):
    """Something with the caller's data in it."""

    body: JsonValue
    how: int = 0
    seconds: float = 0.0
    url: str = ""


@task(name="chaos.crash", contract=Work, retry=PATIENT)
def crash(payload: Work, job: Job) -> None:
    """End the process that runs it, in one of several ways."""
    note("start", job)
    note("end", job)
    if payload.how % 3 == 0:
        os._exit(payload.how % 7)
    os.kill(os.getpid(), signal.SIGSEGV if payload.how % 3 == 1 else signal.SIGKILL)
    time.sleep(60)


def _work_long(payload: Work, job: Job) -> None:
    """Work longer than a lease, looking at it now and then, then deliver."""
    end = time.monotonic() + payload.seconds
    while time.monotonic() < end:
        time.sleep(0.5)
        job.check()
    job.check()
    requests.post(
        payload.url, json=payload.body, headers={"Idempotency-Key": job.id}, timeout=10
    ).raise_for_status()


long = task(name="chaos.long", contract=Work, retry=PATIENT, time_limit=60)(noted(_work_long))
