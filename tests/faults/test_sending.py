"""Senders under trouble: a bounded time, a named error, nothing silently lost."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from support.fault_proxy import Fault, FaultProxy
from support.sqs_lab import Lab

CODE = """
import json, time, lab_app
began = time.monotonic()
try:
    lab_app.ok.apply_async(({argument},), {options})
    error = None
except Exception as problem:
    error = type(problem).__name__
print(json.dumps([error, time.monotonic() - began]))
"""


def send(lab: Lab, *, argument: str = "1", options: str = "", **transport: Any) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(argument=argument, options=options)],
        env=lab.environment(**transport),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "fault",
    [Fault("error", 503), Fault("cut"), Fault("stall"), Fault("error", 403, "AccessDenied")],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
def test_an_unreachable_queue_is_named_within_the_time_out(
    lab: Lab, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.break_with(fault)
    error, seconds = send(
        lab, endpoint=proxy.url, send_timeout=2, read_timeout=1, connect_timeout=1
    )
    assert error == "QueueUnreachable"
    assert seconds < 5


def test_a_short_trouble_is_survived(lab: Lab, proxy: FaultProxy) -> None:
    proxy.break_with(Fault("error", 503, operations=("SendMessageBatch",), times=2))
    error, _ = send(lab, endpoint=proxy.url)
    assert error is None
    assert lab.depth() == (1, 0)


def test_a_missing_queue_is_named(lab: Lab) -> None:
    error, _ = send(lab, options="queue='no-such-queue'")
    assert error == "QueueNotFound"


def test_a_too_large_message_is_named_before_it_is_sent(lab: Lab) -> None:
    error, _ = send(lab, argument="'x' * 300_000", message_bytes=262_144)
    assert error == "MessageTooLarge"
    assert lab.empty()
