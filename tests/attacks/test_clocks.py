"""Workers whose clocks are wrong: no job runs twice at once, and none waits for a clock."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.fault_proxy import Fault, FaultProxy
from support.waiting import wait_for
from support.worker_lab import TESTS, WorkerLab, keep_variables

from sealwax.aws.clients import Aws
from sealwax.ledger import JobState
from sealwax.settings import Settings

LEASE = 10

#: Seconds of the longest pause before a retry of `lost.fails`.
PAUSE = 0.5

#: Seconds until delayed jobs are due.
DELAY = 5


@pytest.fixture
def lab(
    provisioned: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WorkerLab]:
    keep_variables(monkeypatch)
    lab = WorkerLab.make(provisioned, tmp_path, lease=LEASE, concurrency=4)
    yield lab
    lab.close()


def double(lab: WorkerLab, messages: int) -> None:
    """Have each message that waits delivered twice, as SQS may."""
    sqs = Aws().client("sqs")
    url = sqs.get_queue_url(QueueName=lab.settings.queue_name("default"))["QueueUrl"]
    taken: dict[str, Any] = {}

    def all_taken() -> bool:
        found = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            VisibilityTimeout=300,
        )
        taken.update({each["MessageId"]: each for each in found.get("Messages", [])})
        return len(taken) == messages

    wait_for(all_taken, seconds=60, what=f"{messages} messages")
    for message in taken.values():
        attributes = message.get("MessageAttributes", {})
        for _ in range(2):
            sqs.send_message(
                QueueUrl=url, MessageBody=message["Body"], MessageAttributes=attributes
            )
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def run(lab: WorkerLab, offsets: Sequence[float], *, jobs: int, **environment: str) -> None:
    """Run jobs in workers with clocks that are so many seconds ahead; look at what they did."""
    long = [lab.submit("lost.long", seconds=4) for _ in range(jobs)]
    # An attempt that is ended by its time limit, and another.
    retried = [lab.submit("lost.hangs") for _ in range(2)]
    double(lab, len(long) + len(retried))
    shifted = os.pathsep.join([str(TESTS / "support" / "shifted_clock"), os.environ["PYTHONPATH"]])
    workers = [
        lab.start(PYTHONPATH=shifted, SHIFTED_CLOCK_SECONDS=str(offset), **environment)
        for offset in offsets
    ]

    for job_id in long:
        assert lab.wait(job_id).state is JobState.SUCCEEDED
    for job_id in retried:
        assert (lab.wait(job_id).state, lab.entry(job_id).attempts) == (JobState.DEAD, 2)
    started = {job_id: len(lab.notes("start", job_id)) for job_id in long}
    lost = "".join(worker.text() for worker in workers).count("lease lost")
    assert sum(started.values()) - jobs <= lost, started
    assert latest(lab) <= LEASE
    for offset, worker in zip(offsets, workers, strict=True):
        assert ("clock is" in worker.text()) == (abs(offset) > 5)


def latest(lab: WorkerLab) -> float:
    """Return by how many seconds a delayed job or a retry started late, by this machine's clock.

    How long a job takes to start that waits for nothing, at the time when they are due, is the
    machine's and not theirs.
    """
    delayed: dict[str, float] = {}
    for _ in range(6):
        due = time.time() + DELAY
        entry = lab.submitter.submit(
            lab.definitions["lost.fails"], {}, tenant="acme", delay=DELAY
        ).entry
        delayed[entry.id] = due
    time.sleep(DELAY)
    asked = time.time()
    control = lab.submit("lost.well")
    lab.wait(control)
    usual = lab.notes("well", control)[0]["real"] - asked
    lates = []
    for job_id, due in delayed.items():
        lab.wait(job_id)
        started = {note["attempt"]: note["real"] for note in lab.notes("fails", job_id)}
        first, second = started[1], started[2]
        assert first >= due - 1  # SQS counts whole seconds
        lates += [first - due - usual, second - first - PAUSE - usual]
    return max(lates)


@pytest.mark.long
def test_two_workers_twenty_minutes_apart_start_each_job_once(lab: WorkerLab) -> None:
    run(lab, (-600, 600), jobs=8)


@pytest.mark.long
def test_five_wrong_clocks_and_failing_calls_double_nothing(
    lab: WorkerLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = FaultProxy(os.environ["AWS_ENDPOINT_URL"])
    chance = random.Random(7)
    proxy.break_with(Fault("error", chance=lambda: chance.random() < 0.05))
    try:
        run(lab, (-600, -10, 0, 10, 600), jobs=40, AWS_ENDPOINT_URL=proxy.url)
        assert proxy.faulted
    finally:
        lab.close()
        proxy.close()
