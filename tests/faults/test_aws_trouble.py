"""Known ways in which AWS or the network end a stock worker: ours goes on."""

from __future__ import annotations

import time

import pytest
from support.fault_proxy import Fault, FaultProxy
from support.sqs_lab import Lab
from support.waiting import wait_for

#: Times of the workers under test, in seconds: short, so that tests are.
TIMES = {"wait_time": 2, "read_timeout": 2, "connect_timeout": 1, "lease": 5}

EVERYWHERE = {
    "server-error": Fault("error", 503, "ServiceUnavailable"),
    "internal-error": Fault("error", 500, "InternalError"),
    "throttling": Fault("error", 400, "ThrottlingException"),
    "access-denied": Fault("error", 403, "AccessDenied"),
    "expired-token": Fault("error", 403, "ExpiredToken"),
    "cut-connection": Fault("cut"),
    "stalled-socket": Fault("stall"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(EVERYWHERE))
def test_trouble_with_sqs_never_ends_the_worker(lab: Lab, proxy: FaultProxy, name: str) -> None:
    worker = lab.start_worker(endpoint=proxy.url, **TIMES)
    lab.send("ok", "before")
    wait_for(lambda: lab.notes("ok"))
    wait_for(lambda: lab.status().get("ready"))
    fault = EVERYWHERE[name]
    proxy.break_with(Fault(fault.kind, fault.status, fault.code))
    wait_for(lambda: proxy.faulted["ReceiveMessage"] >= 2, seconds=30)
    wait_for(lambda: lab.status().get("ready") is False, seconds=30)
    assert lab.status()["live"]
    lab.send("ok", "during")
    assert worker.poll() is None
    proxy.heal()
    wait_for(lambda: len(lab.notes("ok")) == 2)
    wait_for(lab.empty)
    wait_for(lambda: lab.status().get("ready"))
    failures = [key for key in lab.status()["counters"] if key.startswith("failures.receive.")]
    assert failures


@pytest.mark.long
def test_a_failing_delete_is_tried_again_and_the_task_is_not(lab: Lab, proxy: FaultProxy) -> None:
    proxy.break_with(Fault("error", 503, operations=("DeleteMessageBatch",)))
    lab.start_worker(endpoint=proxy.url, check=False, **TIMES)
    for number in range(5):
        lab.send("ok", number)
    wait_for(lambda: len(lab.notes("ok")) == 5)
    time.sleep(7)  # longer than the lease: it is kept until the delete is confirmed
    proxy.heal()
    wait_for(lab.empty)
    assert len(lab.notes("ok")) == 5


@pytest.mark.long
def test_slow_deletes_do_not_slow_the_worker(lab: Lab, proxy: FaultProxy) -> None:
    proxy.break_with(Fault("slow", seconds=1.0, operations=("DeleteMessageBatch",)))
    lab.start_worker(endpoint=proxy.url, check=False, **{**TIMES, "lease": 30})
    for number in range(40):
        lab.send("ok", number)
    began = time.monotonic()
    wait_for(lambda: len(lab.notes("ok")) == 40, seconds=40)
    assert time.monotonic() - began < 30  # one by one the deletes take 40
    wait_for(lab.empty, seconds=60)


def test_a_failing_dead_letter_queue_keeps_the_message(lab: Lab, proxy: FaultProxy) -> None:
    proxy.break_with(Fault("error", 503, operations=("SendMessageBatch",)))
    lab.start_worker(endpoint=proxy.url, check=False, send_timeout=1, **TIMES)
    lab.put("not a message")
    wait_for(lambda: proxy.faulted["SendMessageBatch"] >= 2)
    assert not lab.empty()
    assert lab.dead_count() == 0
    proxy.heal()
    wait_for(lambda: lab.dead_count() == 1 and lab.empty(), seconds=40)


def test_an_unreachable_sqs_at_start_does_not_end_the_worker(lab: Lab, proxy: FaultProxy) -> None:
    proxy.break_with(Fault("error", 503))
    worker = lab.start_worker(endpoint=proxy.url, **TIMES)
    lab.send("ok", 1)
    proxy.heal()
    wait_for(lambda: lab.notes("ok"))
    assert worker.poll() is None


@pytest.mark.parametrize("operation", ["DeleteMessageBatch", "ChangeMessageVisibilityBatch"])
def test_a_missing_permission_is_named_at_start(
    lab: Lab, proxy: FaultProxy, operation: str
) -> None:
    proxy.break_with(Fault("error", 403, "AccessDenied", operations=(operation,)))
    with pytest.raises(AssertionError, match="PermissionMissing"):
        lab.start_worker(endpoint=proxy.url, **TIMES)
