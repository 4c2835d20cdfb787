from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
