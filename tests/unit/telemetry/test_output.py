from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from structlog.testing import capture_logs

from sealwax.telemetry.logs import within_task
from sealwax.telemetry.output import withhold_output

CANARY = "canary-4242"


class Stream(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def text(self) -> str:
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined]


@contextmanager
def withheld() -> Iterator[tuple[Stream, Stream]]:
    # Not in a fixture: pytest puts other streams in place between a test's phases.
    kept, out, err = (sys.stdout, sys.stderr), Stream(), Stream()
    sys.stdout, sys.stderr = out, err
    try:
        withhold_output()
        yield out, err
    finally:
        sys.stdout, sys.stderr = kept


def test_what_a_task_prints_is_withheld_but_its_place() -> None:
    with withheld() as (out, err):
        print("before")
        with capture_logs() as logs, within_task():
            for _ in range(3):
                print(CANARY)
            print(CANARY, file=sys.stderr)
            sys.stdout.buffer.write(CANARY.encode())
            sys.stdout.flush()
        print("after")
    assert (out.text(), err.text()) == ("before\nafter\n", "")
    assert [(line["event"], line["stream"]) for line in logs] == [
        ("output withheld", "stdout"), ("output withheld", "stderr"),
    ]  # fmt: skip
    assert all(line["at"].startswith(f"{__name__}:") for line in logs)
    assert CANARY not in str(logs)


def test_the_stream_is_otherwise_what_it_was() -> None:
    with withheld() as (out, _):
        sys.stdout.buffer.write(b"bytes\n")
        facts = sys.stdout.encoding, sys.stdout.isatty(), sys.stdout.writable()
    assert out.text() == "bytes\n"
    assert facts == ("utf-8", False, True)


ROLE = """
import logging, os, sys, time
from sealwax.telemetry.logs import configure_logging
from sealwax.telemetry.output import endure_output, withhold_output
endure_output()
configure_logging("worker")
withhold_output()
logging.getLogger("sealwax").info("one")
for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
    print("banner", file=stream, flush=True)
    stream.write("x" * 100_000)
    stream.flush()
os.write(int(sys.argv[1]), b"up")
"""


def a_full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def a_pipe_that_nobody_reads() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def a_full_pipe() -> int:
    _, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 65_536)
    return writing


def read_only() -> int:
    return os.open(os.devnull, os.O_RDONLY)


@pytest.mark.parametrize("make", [a_full_disk, a_pipe_that_nobody_reads, a_full_pipe, read_only])
def test_a_stream_that_takes_nothing_ends_no_role(make: Callable[[], int]) -> None:
    reading, writing = os.pipe()
    done = subprocess.run(
        [sys.executable, "-c", ROLE, str(writing)],
        stdout=make(), stderr=make(), pass_fds=[writing], check=False, timeout=60,
    )  # fmt: skip
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        # 120 is what Python ends with where its streams could not be flushed.
        assert (told.read(), done.returncode) == (b"up", 0)


def test_closed_streams_end_no_role() -> None:
    reading, writing = os.pipe()
    shell = f'exec "$0" -c "$1" {writing} >&- 2>&-'
    done = subprocess.run(
        ["/bin/sh", "-c", shell, sys.executable, ROLE], pass_fds=[writing], check=False, timeout=60
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        assert (told.read(), done.returncode) == (b"up", 0)


def test_what_was_lost_is_told_once_there_is_room_again() -> None:
    code = (
        "import os, sys\n"
        "from sealwax.telemetry.output import endure_output\n"
        "endure_output()\n"
        "kept = os.dup(1)\n"
        "os.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n"
        "print('lost'); print('lost')\n"
        "os.dup2(kept, 1)\n"
        "print('again'); print('on')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    notice = '{"event": "output lost", "level": "warning", "bytes": 10}'
    assert done.stdout == f"\n{notice}\nagain\non\n"
