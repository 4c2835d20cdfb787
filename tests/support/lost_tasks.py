"""Tasks that end their process, or outlive it; each notes what it does in a file."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sealwax.egress import HttpRule, OutgoingError, outcome, shared_client
from sealwax.job import Job
from sealwax.retry import RetryPolicy
from sealwax.task_definition import task
from sealwax.worker.attempt import Attempt

QUICK = RetryPolicy(attempts=20, base=0.1, cap=0.5)


class Nothing(BaseModel):
    pass


class Length(BaseModel):
    seconds: float
    #: While this file is there, the task waits on after its time.
    until_gone: str | None = None
    #: Whether it asks all the time if it still holds its lease.
    checks: bool = False


def note(event: str, job: Job) -> None:
    """Append one line to the notes, whole."""
    fields = {"event": event, "job": job.id, "pid": os.getpid(), "parent": os.getppid()}
    # `time.time` is what a test may have shifted; the other clock is not.
    times = {"at": time.time(), "real": time.clock_gettime(time.CLOCK_REALTIME)}
    line = json.dumps(fields | {"attempt": job.attempt} | times) + "\n"
    descriptor = os.open(os.environ["LOST_TEST_NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, line.encode())
    os.close(descriptor)


@task(name="lost.segfault", contract=Nothing, retry=QUICK)
def segfault(payload: Nothing, job: Job) -> None:
    note("segfault", job)
    # No dump: it would be written to the test's folder.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


@task(name="lost.exits", contract=Nothing, retry=QUICK)
def exits(payload: Nothing, job: Job) -> None:
    note("exits", job)
    os._exit(0)


@task(name="lost.memory", contract=Nothing, retry=RetryPolicy(attempts=2, base=0.1, cap=0.5))
def memory(payload: Nothing, job: Job) -> None:
    note("memory", job)
    used = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 64 * 2**20, used[1]))
    try:
        hoard = [bytes(2**20) for _ in range(1_000)]
    finally:
        resource.setrlimit(resource.RLIMIT_AS, used)
    del hoard


@task(
    name="lost.hangs",
    contract=Nothing,
    time_limit=1,
    retry=RetryPolicy(attempts=2, base=0.1, cap=0.5),
)
def hangs(payload: Nothing, job: Job) -> None:
    """Outlive the soft limit, so that only the hard one ends it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    note("hangs", job)
    while True:
        time.sleep(60)


@task(name="lost.fails", contract=Nothing, retry=RetryPolicy(attempts=2, base=0.1, cap=0.5))
def fails(payload: Nothing, job: Job) -> None:
    note("fails", job)
    raise RuntimeError


@task(name="lost.long", contract=Length, retry=QUICK)
def long(payload: Length, job: Job) -> dict[str, Any]:
    note("start", job)
    end = time.monotonic() + payload.seconds
    while time.monotonic() < end or (payload.until_gone and Path(payload.until_gone).exists()):
        time.sleep(0.05)
        if payload.checks:
            job.check()
    note("end", job)
    return {"by": os.getpid()}


@task(name="lost.well", contract=Nothing, retry=QUICK)
def well(payload: Nothing, job: Job) -> None:
    note("well", job)
    print("PRINTED", job.id)


class Address(BaseModel):
    port: int


@task(name="lost.asks", contract=Address, retry=QUICK)
def asks(payload: Address, job: Job) -> None:
    rule = HttpRule(cidrs=("127.0.0.0/8",), schemes=("http",), ports=(payload.port,), total=5)
    try:
        shared_client().request("POST", f"http://127.0.0.1:{payload.port}/", rule=rule, job=job)
    except OutgoingError as error:
        raise outcome(error) from None


_open = Attempt._open


def _open_or_die(self: Attempt) -> Any:
    """Open the envelope, unless the test wants such messages to end their child there."""
    if self._delivery.task == os.environ.get("LOST_TEST_EARLY"):
        os._exit(1)
    return _open(self)


Attempt._open = _open_or_die  # type: ignore[method-assign]
