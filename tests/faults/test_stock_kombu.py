"""The same troubles on stock Celery and kombu 5.7.0, to show the difference.

`make test-comparison` runs them; SEALWAX_STOCK_PYTHON names a Python that has
`celery[sqs]==5.7.0`. Each test asserts the fault; docs/faults.md names its
counterpart, which asserts that ours has none.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from support.fault_proxy import Fault, FaultProxy
from support.sqs_lab import Lab, message, server_state
from support.waiting import wait_for

pytestmark = pytest.mark.comparison

#: The stock transport makes an ack late only where it is told.
LATE = {"task_acks_late": True}


def test_a_malformed_message_ends_the_stock_worker(lab: Lab) -> None:
    worker = lab.start_stock_worker()
    lab.put(json.dumps({"properties": 5}))
    wait_for(lambda: worker.poll() is not None, seconds=20)


def test_batch_mates_of_a_malformed_message_come_again_and_again(
    make_lab: Callable[..., Lab],
) -> None:
    lab = make_lab(visibility=1, receives=3)
    lab.put(json.dumps({"properties": 5}))
    for number in range(9):
        lab.send("ok", number)
    for _ in range(8):
        # As a supervisor would: started again when it ends, or when it does nothing.
        worker = lab.start_stock_worker("-c", "1", "--prefetch-multiplier=10", wait=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(8)
        if worker.poll() is None:
            lab.kill(worker)
        time.sleep(1.1)  # until what it held is visible again
        if lab.dead_count() > 1:
            break
    assert lab.dead_count() > 1
    assert len({note["args"][0] for note in lab.notes("ok")}) < 9


@pytest.mark.parametrize(
    "fault",
    [
        Fault("error", 503),
        Fault("error", 403, "AccessDenied"),
        Fault("error", 400, "ThrottlingException"),
        Fault("error", 403, "ExpiredToken"),
    ],
    ids=["server-error", "access-denied", "throttling", "expired-token"],
)
def test_an_error_of_receive_ends_the_stock_worker_or_its_consuming(
    lab: Lab, proxy: FaultProxy, fault: Fault
) -> None:
    worker = lab.start_stock_worker(endpoint=proxy.url)
    fault.operations = ("ReceiveMessage", "")
    proxy.break_with(fault)
    wait_for(lambda: sum(proxy.faulted.values()) > 0, seconds=30)
    time.sleep(5)
    proxy.heal()
    lab.send("ok", "after")
    time.sleep(10)  # ours runs it within the read time-out and five seconds
    assert worker.poll() is not None or not lab.notes("ok")


def test_a_silent_socket_stops_the_stock_worker_without_a_word(lab: Lab, proxy: FaultProxy) -> None:
    worker = lab.start_stock_worker(endpoint=proxy.url)
    lab.send("ok", 1)
    wait_for(lambda: lab.notes("ok") and lab.empty())
    proxy.break_with(Fault("mute"))
    wait_for(lambda: sum(proxy.faulted.values()) >= 1, seconds=30)
    proxy.heal()
    before = lab.log()
    lab.send("ok", 2)
    # Longer than any time-out of ours; that it never comes back cannot be shown by waiting.
    time.sleep(20)
    assert worker.poll() is None
    assert len(lab.notes("ok")) == 1
    assert "ERROR" not in lab.log()[len(before) :]


def test_a_failed_task_is_deleted_by_the_stock_worker(lab: Lab) -> None:
    lab.start_stock_worker()
    lab.send("boom", "x")
    wait_for(lambda: lab.notes("boom") and lab.empty())
    assert lab.dead_count() == 0


@pytest.mark.parametrize("task", ["die", "hard"])
def test_a_lost_attempt_is_deleted_by_the_stock_worker(lab: Lab, task: str) -> None:
    lab.start_stock_worker(**LATE)
    lab.send(task)
    wait_for(lambda: lab.notes(task) and lab.empty(), seconds=30)
    assert lab.dead_count() == 0


def test_out_of_memory_ends_the_stock_worker(lab: Lab) -> None:
    worker = lab.start_stock_worker()
    lab.send("memory")
    wait_for(lambda: worker.poll() is not None, seconds=20)


def test_an_undecodable_body_is_deleted_by_the_stock_worker(lab: Lab) -> None:
    lab.start_stock_worker()
    lab.put(message("ok", body=base64.b64encode(b"{").decode(), properties=BASE64, queue=lab.queue))
    wait_for(lambda: "decode" in lab.log().lower() and lab.empty(), seconds=20)
    assert lab.dead_count() == 0


def test_an_unknown_task_loops_on_the_stock_worker(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(visibility=1)
    lab.start_stock_worker()
    lab.send("no.such.task")
    wait_for(lambda: lab.log().count("unregistered task") > 3, seconds=30)
    assert lab.dead_count() == 0


def test_used_up_retries_are_deleted_by_the_stock_worker(lab: Lab) -> None:
    lab.start_stock_worker()
    lab.send("again", 99)
    wait_for(lambda: len(lab.notes("again")) == 4 and lab.empty(), seconds=40)
    assert lab.dead_count() == 0


def test_a_stock_retry_is_a_copy_with_a_fresh_receive_count(lab: Lab) -> None:
    lab.start_stock_worker()
    sends = calls(lab)
    lab.send("again", 1)
    wait_for(lambda: len(lab.notes("again")) == 2, seconds=20)
    assert calls(lab) == sends + 2  # the test's own, and the copy


def test_an_eta_beyond_the_visibility_runs_several_times_on_the_stock_worker(
    make_lab: Callable[..., Lab],
) -> None:
    lab = make_lab(visibility=2)
    lab.start_stock_worker("--prefetch-multiplier=0", **LATE)
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=9)
    lab.put(message("ok", "later", headers={"eta": moment.isoformat()}, queue=lab.queue))
    wait_for(lambda: len(lab.notes("ok")) > 1, seconds=40)


def test_a_task_longer_than_the_visibility_runs_twice_on_stock_workers(
    make_lab: Callable[..., Lab],
) -> None:
    lab = make_lab(visibility=2)
    lab.start_stock_worker(**LATE)
    lab.start_stock_worker(**LATE)
    lab.send("sleep", 6)
    wait_for(lambda: len(lab.notes("start")) > 1, seconds=20)


def test_prefetched_messages_stay_hidden_after_sigterm_of_a_stock_worker(
    make_lab: Callable[..., Lab],
) -> None:
    lab = make_lab(visibility=60)
    worker = lab.start_stock_worker("-c", "1", "--prefetch-multiplier=10", **LATE)
    lab.send("sleep", 8)
    wait_for(lambda: lab.notes("start"))
    for number in range(8):
        lab.send("ok", number)
    wait_for(lambda: lab.depth()[1] > 4)
    worker.send_signal(signal.SIGTERM)
    time.sleep(4)  # ours: all visible within three seconds
    assert lab.depth()[1] > 4


def test_a_killed_stock_worker_loses_its_task(lab: Lab) -> None:
    worker = lab.start_stock_worker()
    lab.send("sleep", 30)
    wait_for(lambda: lab.notes("start"))
    wait_for(lab.empty, seconds=10)
    lab.kill(worker)
    assert lab.empty()
    assert lab.dead_count() == 0
    assert not lab.notes("end")


def test_a_denied_delete_ends_the_stock_worker(lab: Lab, proxy: FaultProxy) -> None:
    worker = lab.start_stock_worker(endpoint=proxy.url, **LATE)
    proxy.break_with(Fault("error", 403, "AccessDenied", operations=("DeleteMessage",)))
    lab.send("ok", 1)
    wait_for(lambda: lab.notes("ok"))
    wait_for(lambda: worker.poll() is not None, seconds=30)
    assert not lab.empty()


def test_slow_deletes_stop_the_stock_worker(lab: Lab, proxy: FaultProxy) -> None:
    lab.start_stock_worker(endpoint=proxy.url, **LATE)
    proxy.break_with(Fault("slow", seconds=1.0, operations=("DeleteMessage",)))
    for number in range(10):
        lab.send("ok", number)
    wait_for(lambda: len(lab.notes("ok")) == 10, seconds=60)
    times = [note["at"] for note in lab.notes("ok")]
    # Each delete is a second in which nothing else happens; ours takes them along in batches.
    assert max(times) - min(times) > 5


def test_a_lost_answer_sends_twice_on_stock_kombu(lab: Lab, proxy: FaultProxy) -> None:
    proxy.break_with(Fault("lost", operations=("SendMessage",), times=1))
    send_stock(lab, "1", endpoint=proxy.url)
    assert lab.depth() == (2, 0)


def test_the_polling_interval_makes_a_small_stock_worker_slow(lab: Lab) -> None:
    for number in range(8):
        lab.send("ok", number)
    lab.start_stock_worker("-c", "1", "--prefetch-multiplier=1", polling_interval=None, **LATE)
    wait_for(lambda: len(lab.notes("ok")) == 8, seconds=60)
    times = [note["at"] for note in lab.notes("ok")]
    assert max(times) - min(times) > 3


def test_an_expired_task_is_gone_from_the_stock_worker(lab: Lab) -> None:
    lab.start_stock_worker()
    lab.put(message("ok", headers={"expires": "2020-01-01T00:00:00+00:00"}, queue=lab.queue))
    wait_for(lambda: "LetterDiscarder" in lab.log() and lab.empty(), seconds=20)
    assert not lab.notes("ok")
    assert lab.dead_count() == 0


def test_a_stock_message_is_base64_and_shows_its_arguments(lab: Lab) -> None:
    send_stock(lab, "'canary'")
    (item,) = lab.sqs.receive_message(QueueUrl=lab.queue_url)["Messages"]
    payload = json.loads(base64.b64decode(item["Body"]))
    assert len(item["Body"]) > 1_200
    assert "canary" in payload["headers"]["argsrepr"]


def test_a_too_large_stock_message_fails_only_when_it_is_sent(lab: Lab, proxy: FaultProxy) -> None:
    lab.sqs.set_queue_attributes(
        QueueUrl=lab.queue_url, Attributes={"MaximumMessageSize": "262144"}
    )
    with pytest.raises(subprocess.CalledProcessError):
        send_stock(lab, "'x' * 250_000", endpoint=proxy.url)
    assert proxy.seen["SendMessage"] >= 1


BASE64 = {"body_encoding": "base64"}


def calls(lab: Lab) -> int:
    """Return how many single sends the server has seen."""
    found: int = server_state(lab.url)["calls"].get("SendMessage", 0)
    return found


def send_stock(lab: Lab, argument: str, endpoint: str | None = None) -> None:
    """Send one task in a process on stock kombu."""
    environment = lab.environment(broker="sqs://", endpoint=endpoint or lab.url)
    environment["LAB_OPTIONS"] = json.dumps(
        {"region": "us-east-1", "predefined_queues": {lab.queue: {"url": lab.queue_url}}}
    )
    subprocess.run(
        [lab.stock_python(), "-c", f"import lab_app; lab_app.ok.delay({argument})"],
        env=environment,
        check=True,
        timeout=60,
    )
