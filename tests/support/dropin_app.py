"""The Celery app of the drop-in proof: it notes what Celery tells tasks, hooks and signals.

`DROPIN_BROKER` is the broker; nothing else differs between stock Celery and ours.
Each task takes the keyword `program`, the name of the program that it belongs to.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any, ClassVar

import celery
from celery import Celery, signals
from celery._state import get_current_worker_task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.worker.request import Request

BROKER = os.environ["DROPIN_BROKER"]
if BROKER.startswith("sealwax"):
    import sealwax.transport  # noqa: F401 - makes the URL's scheme known

app = Celery("dropin", broker=BROKER)
app.conf.update(
    broker_transport_options=json.loads(os.environ["DROPIN_OPTIONS"]),
    broker_connection_retry_on_startup=True,
    result_backend="file://" + os.environ["DROPIN_RESULTS"],
    task_default_queue=os.environ["DROPIN_QUEUE"],
    task_create_missing_queues=True,
    worker_hijack_root_logger=False,
    worker_prefetch_multiplier=4,
    result_chord_retry_interval=0.2,
    # As ours does whatever this says.
    task_acks_late=True,
    **json.loads(os.environ.get("DROPIN_CONF", "{}")),
)
app.set_default()


def note(program: str | None, event: str, **fields: Any) -> None:
    """Append one line to the notes, whole."""
    if program is None:
        return
    task = get_current_worker_task()
    fact = {"program": program, "event": event, "run": task.request.id if task else None}
    line = json.dumps(fact | fields) + "\n"
    descriptor = os.open(os.environ["DROPIN_NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def plain(value: Any) -> Any:
    """Return a value as JSON can have it; what differs from run to run, as its type."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return "a float"
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in sorted(value.items(), key=str)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, BaseException):
        return re.sub(r"Job: \d+", "Job: N", f"{type(value).__name__}: {value}")
    return type(value).__name__


#: What of a request is compared, by its own words.
SHOWN = (
    "args", "kwargs", "retries", "group_index", "is_eager", "called_directly", "ignore_result",
    "time_limit", "soft_time_limit", "timelimit", "headers", "shadow", "stamps",
    "replaced_task_nesting", "utc", "lang", "argsrepr", "kwargsrepr",
)  # fmt: skip
#: What of a request is compared by being there: it differs from run to run.
PRESENT = (
    "id", "root_id", "parent_id", "group", "eta", "expires", "reply_to", "correlation_id",
    "hostname", "origin", "callbacks", "errbacks", "chain", "chord",
)  # fmt: skip


def facts(request: Any) -> dict[str, Any]:
    """Return what a task is told."""
    info = request.delivery_info or {}
    return {
        **{name: plain(getattr(request, name, None)) for name in SHOWN},
        # Its order is a set's.
        "stamped_headers": sorted(request.stamped_headers or ()),
        **{f"has {name}": bool(getattr(request, name, None)) for name in PRESENT},
        "own root": request.root_id == request.id,
        "priority": info.get("priority"),
        "named": bool(request.id and request.id.startswith("named")),
    }


def program_of(kwargs: Any) -> str | None:
    return kwargs.get("program") if isinstance(kwargs, dict) else None


# -- signals, with what they are called with


def listen(name: str, program: Any, *shown: str) -> None:
    """Note one of Celery's signals: the names that it brings, and some of their values."""

    def receive(sender: Any = None, signal: Any = None, **facts: Any) -> None:
        found = program(sender, facts)
        values = {key: plain(facts.get(key)) for key in shown}
        note(found, name, sender=type(sender).__name__, names=sorted(facts), **values)

    getattr(signals, name).connect(receive, weak=False)


def of_kwargs(sender: Any, facts: Any) -> str | None:
    return program_of(facts.get("kwargs"))


def of_request(sender: Any, facts: Any) -> str | None:
    found = facts["request"]
    return program_of(getattr(found, "kwargs", None))


def of_body(sender: Any, facts: Any) -> str | None:
    return program_of(facts["body"][1])


listen("before_task_publish", of_body, "declare", "retry_policy")
listen("after_task_publish", of_body, "exchange")
listen("task_received", of_request)
listen("task_prerun", of_kwargs, "args", "kwargs")
listen("task_postrun", of_kwargs, "args", "kwargs", "retval", "state")
listen("task_success", lambda sender, facts: program_of(sender.request.kwargs), "result")
listen("task_failure", of_kwargs, "exception", "args")
listen("task_retry", of_request, "reason")
listen("task_revoked", of_request, "terminated", "signum", "expired")


def listen_once(name: str) -> None:
    """Note the first of a worker's own signals; how often they come is a matter of its children."""

    def receive(sender: Any = None, signal: Any = None, **facts: Any) -> None:
        marker = Path(f"{os.environ['DROPIN_NOTES']}.{name}")
        if not marker.exists():
            marker.touch()
            note(f"worker {name}", name, names=sorted(facts))

    getattr(signals, name).connect(receive, weak=False)


OF_WORKERS = (
    "celeryd_init", "celeryd_after_setup", "worker_init", "worker_before_create_process",
    "worker_process_init", "worker_ready", "worker_shutdown", "worker_shutting_down",
    "after_setup_logger", "after_setup_task_logger",
)  # fmt: skip
# The worker on memory is a thread of the sender, and no program of its own.
if os.environ.get("DROPIN_POOL") == "prefork":
    for _name in OF_WORKERS:
        listen_once(_name)


# -- tasks


class Hooked(celery.Task):
    """Notes each of a task's own hooks."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        note(program_of(kwargs), "before_start", args=plain(args))

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note(program_of(kwargs), "on_success", retval=plain(retval))

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note(program_of(kwargs), "on_failure", exc=plain(exc), einfo=type(einfo).__name__)

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note(program_of(kwargs), "on_retry", exc=plain(exc))

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        note(program_of(kwargs), "after_return", status=status, retval=plain(retval))


class Calling(celery.Task):
    """Wraps each call."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        note(program_of(kwargs), "called")
        return super().__call__(*args, **kwargs)


class OwnRequest(Request):
    """A request of the app's own, as Celery's documentation has it."""

    def on_failure(self, exc_info: Any, *args: Any, **options: Any) -> Any:
        note(program_of(self.kwargs), "request.on_failure")
        return super().on_failure(exc_info, *args, **options)


class Asking(celery.Task):
    abstract = True
    Request = OwnRequest


@app.task(name="tell", bind=True)
def tell(self: Any, *args: Any, program: str, **kwargs: Any) -> Any:
    """Note the request, and return the sum of the numbers."""
    note(program, "ran", **facts(self.request))
    return sum(item for item in args if isinstance(item, int))


@app.task(name="shown", bind=True)
def shown(self: Any, *args: Any, program: str, **kwargs: Any) -> None:
    """Note values by their own words, and by their types."""
    note(program, "shown", args=repr(args), kwargs=repr(kwargs), headers=repr(self.request.headers))


@app.task(name="total", bind=True)
def total(self: Any, numbers: Any, *, program: str) -> int:
    note(program, "total", numbers=plain(numbers), **facts(self.request))
    return sum(numbers)


@app.task(name="one")
def one(program: str) -> None:
    note(program, "ran")


@app.task(name="pair")
def pair(program: str, number: int) -> None:
    note(program, "ran", number=number)


@app.task(name="fail", bind=True, base=Hooked)
def fail(self: Any, *args: Any, program: str) -> None:
    note(program, "ran", **facts(self.request))
    raise KeyError("why")


@app.task(name="noted")
def noted(*args: Any, program: str) -> None:
    """Take whatever an errback is given."""
    note(program, "noted", args=[plain(item) if not isinstance(item, str) else "" for item in args])


@app.task(name="hooked", bind=True, base=Hooked)
def hooked(self: Any, *args: Any, program: str) -> int:
    note(program, "ran", **facts(self.request))
    return 7


#: How each way of retrying asks for it, by its name.
RETRIES: dict[str, dict[str, Any]] = {
    "countdown": {"countdown": 0}, "countdown-1": {"countdown": 1},
    "exc": {"countdown": 0, "exc": OSError("down")}, "default": {},
    "max-1": {"countdown": 0, "max_retries": 1},
    "max-1-exc": {"countdown": 0, "max_retries": 1, "exc": OSError("down")},
    "args": {"countdown": 0, "args": (5,)}, "kwargs": {"countdown": 0},
    "shadow": {"countdown": 0, "shadow": "other"}, "headers": {"countdown": 0, "headers": {"x": 1}},
    "priority": {"countdown": 0, "priority": 3}, "throw": {"countdown": 0, "throw": False},
}  # fmt: skip


@app.task(name="again", bind=True, base=Hooked, max_retries=3, default_retry_delay=0)
def again(self: Any, *args: Any, program: str, way: str, times: int = 2, **more: Any) -> str:
    note(program, "ran", **facts(self.request))
    if self.request.retries >= times:
        return "done"
    options = dict(RETRIES[way])
    if way == "kwargs":
        options["kwargs"] = {"program": program, "way": way, "more": 1}
    found = self.retry(**options)
    return f"went on after {type(found).__name__}"


@app.task(name="auto", bind=True, autoretry_for=(OSError,), max_retries=2, default_retry_delay=0)
def auto(self: Any, *, program: str) -> None:
    note(program, "ran", **facts(self.request))
    raise OSError("down")


@app.task(
    name="auto-backoff", bind=True, autoretry_for=(Exception,), dont_autoretry_for=(KeyError,),
    retry_backoff=1, retry_backoff_max=1, retry_jitter=False, retry_kwargs={"max_retries": 1},
)  # fmt: skip
def auto_backoff(self: Any, kind: str, *, program: str) -> None:
    note(program, "ran", **facts(self.request))
    raise {"key": KeyError, "value": ValueError}[kind]("why")


@app.task(name="ends", bind=True, base=Hooked, throws=(KeyError,))
def ends(self: Any, way: str, *, program: str) -> None:
    note(program, "ran", **facts(self.request))
    if way == "ignore":
        raise Ignore
    if way == "reject":
        raise Reject("why", requeue=False)
    if way == "requeue":
        marker = Path(f"{os.environ['DROPIN_NOTES']}.{self.request.id}")
        if not marker.exists():
            marker.touch()
            raise Reject("again", requeue=True)
        return
    if way == "update":
        self.update_state(state="HALF", meta={"done": 1})
        raise Ignore
    if way == "expected":
        raise KeyError("expected")


@app.task(name="soft", bind=True, soft_time_limit=1)
def soft(self: Any, *, program: str, catch: bool) -> str:
    note(program, "ran", **facts(self.request))
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            time.sleep(0.02)
    except SoftTimeLimitExceeded:
        if not catch:
            raise
        return "in time"
    return "never"


@app.task(name="lost", bind=True)
def lost(self: Any, way: str, *, program: str) -> None:
    note(program, "ran", **facts(self.request))
    if way == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


@app.task(name="replacing", bind=True)
def replacing(self: Any, kind: str, *, program: str) -> Any:
    note(program, "ran", **facts(self.request))
    one = tell.si(1, program=program)
    raise self.replace(one if kind == "task" else celery.chain(one, tell.s(2, program=program)))


@app.task(name="calling", base=Calling)
def calling(*, program: str) -> None:
    note(program, "ran")


@app.task(name="asking", base=Asking)
def asking(*, program: str) -> None:
    raise KeyError("why")


@app.task(name="attributes", bind=True, expires=600, priority=4, ignore_result=True,
          serializer="json", track_started=True, rate_limit="600/m", time_limit=300,
          soft_time_limit=200, trail=False, typing=False, resultrepr_maxsize=10)  # fmt: skip
def attributes(self: Any, *args: Any, program: str) -> str:
    names = (
        "name", "max_retries", "default_retry_delay", "rate_limit", "ignore_result", "trail",
        "send_events", "store_errors_even_if_ignored", "serializer", "time_limit", "typing",
        "soft_time_limit", "track_started", "acks_late", "throws", "expires", "priority",
        "resultrepr_maxsize", "abstract", "backend", "request_stack", "app",
        "__name__", "__module__", "__doc__", "autoregister",
    )  # fmt: skip
    told = {name: plain(getattr(self, name, "lacks it")) for name in names}
    note(program, "ran", told=told, **facts(self.request))
    return "x" * 50


class Naming(celery.Task):
    """Gives its jobs a name in monitors, and notes that it was replaced."""

    abstract = True

    def shadow_name(self, args: Any, kwargs: Any, options: Any) -> str:
        return f"tell the {len(args)}"

    def on_replace(self, sig: Any) -> Any:
        note(program_of(sig.kwargs), "on_replace", task=sig.task)
        return super().on_replace(sig)


@app.task(name="naming", bind=True, base=Naming)
def naming(self: Any, *args: Any, program: str) -> Any:
    note(program, "ran", **facts(self.request))
    raise self.replace(tell.si(1, program=program))


@app.task(name="methods", bind=True)
def methods(self: Any, *, program: str, inner: bool = False) -> str:
    """Call what a task offers while it runs."""
    if inner:
        return "inner"
    again = self.signature_from_request(self.request, countdown=1)
    self.send_event("task-mine", program=program)
    self.add_trail(self.AsyncResult("other"))
    # What a copy carries on besides is ours, and stands in docs/transport.md.
    options = sorted(name for name in again.options if not name.startswith("sealwax-"))
    eager = self.apply((), {"program": program, "inner": True})
    note(
        program, "ran", again=again.task, options=options,
        eager=[eager.state, eager.result], other=self.AsyncResult("other").state,
        same=self.subtask is not None and self.signature((1,)).task == self.name,
        trail=len(self.request.children), called=self.run(program=program, inner=True),
    )  # fmt: skip
    return "outer"


class Classy(celery.Task):
    """A class-based task."""

    name = "classy"
    fields: ClassVar[dict[str, int]] = {"calls": 1}

    def run(self, *args: Any, program: str) -> int:
        note(program, "ran", calls=self.fields["calls"], **facts(self.request))
        return 3


app.register_task(Classy())
