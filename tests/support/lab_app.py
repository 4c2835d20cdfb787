"""The Celery app of the transport's laboratory; set up by environment variables."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from typing import Any

import celery
from celery import Celery
from celery.exceptions import Reject

OURS = os.environ["LAB_BROKER"].startswith("sealwax")

if OURS:
    import sealwax.transport  # noqa: F401 - makes the URL's scheme known

app = Celery(
    "lab",
    broker=os.environ["LAB_BROKER"],
    task_cls="sealwax.transport:Task" if OURS else None,
)
settings = {
    "broker_transport_options": json.loads(os.environ["LAB_OPTIONS"]),
    "broker_connection_retry_on_startup": True,
    "task_default_queue": os.environ["LAB_QUEUE"],
    "task_ignore_result": True,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_prefetch_multiplier": 4,
}
app.conf.update(settings | json.loads(os.environ["LAB_CONF"]))
if OURS and os.environ.get("LAB_ARCHIVE"):
    # By a name: the function is further down.
    app.conf.broker_transport_options["archive"] = lambda letter: note(
        "archived", body=letter.body, reason=letter.reason, code=letter.code
    )


def signed(event: Any, members: dict[str, Any]) -> dict[str, Any]:
    """Sign a letter as an application may; the first try of each message fails."""
    if not failures(f"sign-{event.message_id}"):
        raise ConnectionError("not yet")
    return members | {"sig": f"{event.queue} {len(event.body)} {members['reason']}"}


if OURS and os.environ.get("LAB_SIGN"):
    app.conf.broker_transport_options["sign_letter"] = signed


def note(event: str, **fields: Any) -> None:
    """Append one line to the notes, whole."""
    line = json.dumps({"event": event, "at": time.time(), "pid": os.getpid(), **fields}) + "\n"
    descriptor = os.open(os.environ["LAB_NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def facts(task: Any) -> dict[str, Any]:
    """Return what a task knows of its message."""
    sqs = task.request.delivery_info.get("sqs") or {}
    return {
        "id": task.request.id,
        "retries": task.request.retries,
        "receives": sqs.get("receive_count"),
        "group": sqs.get("group"),
    }


def failures(job: str) -> int:
    """Return how often this was called for a job before, in any process."""
    path = f"{os.environ['LAB_NOTES']}.{job}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        before = os.fstat(descriptor).st_size
        os.write(descriptor, b".")
    finally:
        os.close(descriptor)
    return before


@app.task(name="ok", bind=True)
def ok(self: Any, *args: Any) -> None:
    note("ok", args=args, **facts(self))


@app.task(name="noop")
def noop(*args: Any) -> None:
    pass


@app.task(name="again", bind=True, max_retries=3)
def again(self: Any, times: int) -> None:
    note("again", **facts(self))
    if self.request.retries < times:
        raise self.retry(countdown=1)


@app.task(name="gives back", bind=True, max_retries=1)
def gives_back(self: Any, times: int) -> None:
    note("gives back", **facts(self))
    if len(self.request.args) and failures(f"back-{self.request.id}") < times:
        raise Reject("not mine", requeue=True)


@app.task(name="changed", bind=True)
def changed(self: Any, step: int) -> None:
    note("changed", step=step, **facts(self))
    if step < 2:
        raise self.retry(args=(step + 1,), countdown=0)


@app.task(name="copied", bind=True)
def copied(self: Any, how: str, step: int) -> None:
    """Be tried again as a copy, in one of the ways of Celery's documentation; then once more."""
    note("copied", how=how, step=step, **facts(self))
    if step == 2:
        return
    ways: dict[str, dict[str, Any]] = {
        "arguments": {"args": (how, step + 1)},
        "keywords": {"args": (), "kwargs": {"how": how, "step": step + 1}},
        "option": {"args": (how, step + 1), "priority": 3},
        "headers": {"args": (how, step + 1), "headers": {"mine": "x"}},
        "quiet": {"args": (how, step + 1), "throw": False},
        "stock": {"args": (how, step + 1)},
    }
    again = ways[how]
    if how == "stock":
        raise celery.Task.retry(self, countdown=0, **again)
    answer = self.retry(countdown=0, **again)
    if how != "quiet":
        raise answer


@app.task(name="boom", bind=True)
def boom(self: Any, secret: str) -> None:
    note("boom", **facts(self))
    raise ValueError(secret)


@app.task(name="story", bind=True, max_retries=3)
def story(self: Any, steps: str) -> None:
    """Do at each attempt what the next letter says: ask for another, or die; then end well."""
    attempt = failures(self.request.id)
    note("story", steps=steps, attempt=attempt, **facts(self))
    step = steps[attempt : attempt + 1]
    if step == "c":
        # Not in its first moment: the pool gives a job that it does not know as begun to another.
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    if step == "r":
        raise self.retry(countdown=0)
    note("ended", steps=steps)


@app.task(name="memory")
def memory() -> None:
    raise MemoryError


@app.task(name="die", bind=True)
def die(self: Any) -> None:
    note("die", **facts(self))
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="sleep", bind=True)
def sleep(self: Any, seconds: float) -> None:
    note("start", **facts(self))
    time.sleep(seconds)
    note("end", **facts(self))


@app.task(name="broken", bind=True, max_retries=None)
def broken(self: Any) -> None:
    """Fail as a downstream that refuses does: backoff doubles, with full jitter."""
    bound = min(900.0, 2.0 * 2.0 ** min(self.request.retries, 20))
    raise self.retry(countdown=bound * random.random())


@app.task(name="late", bind=True, max_retries=None)
def late(self: Any) -> None:
    """Fail, to be tried again much later."""
    raise self.retry(countdown=600)


@app.task(name="timed")
def timed(number: int, sent: float) -> None:
    note("timed", number=number, latency=time.time() - sent)


@app.task(name="hard", bind=True, time_limit=1)
def hard(self: Any) -> None:
    note("hard", **facts(self))
    time.sleep(60)


@app.task(name="keyed", bind=True, max_retries=None)
def keyed(self: Any, key: str, number: int, fails: int) -> None:
    # By job and not by receive count: giving back after a kill is a receive too.
    if failures(self.request.id) < fails:
        note("keyed-failed", key=key, number=number)
        raise self.retry(countdown=1)
    note("keyed", key=key, number=number)


@app.task(name="add", ignore_result=False)
def add(first: int, second: int) -> int:
    return first + second


@app.task(name="total", ignore_result=False)
def total(numbers: list[int]) -> int:
    return sum(numbers)
