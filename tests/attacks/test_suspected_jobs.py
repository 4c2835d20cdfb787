"""Jobs that must run alone harm no neighbours, however many there are in their lane."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.waiting import wait_for
from support.worker_lab import WorkerLab, keep_variables

from sealwax.aws.clients import Aws
from sealwax.ledger import SUSPICIONS, JobState
from sealwax.settings import Settings

#: Waits for leases and back-offs, most of its time.
pytestmark = pytest.mark.long

SUSPECTED, HEALTHY = 20, 60


@pytest.fixture
def lab(
    provisioned: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WorkerLab]:
    """Return a lab with one worker of four slots."""
    keep_variables(monkeypatch)
    lab = WorkerLab.make(provisioned, tmp_path, concurrency=4, prefetch=2, lease=30)
    yield lab
    lab.close()


def suspected(lab: WorkerLab, **payload: Any) -> str:
    """Submit a job under which two workers were lost."""
    job_id = lab.submit("lost.long", **payload)
    Aws().client("dynamodb").update_item(
        TableName=lab.settings.table_name("jobs"),
        Key={"id": {"S": job_id}},
        UpdateExpression="SET suspicions = :two",
        ExpressionAttributeValues={":two": {"N": str(SUSPICIONS)}},
    )
    return job_id


def test_others_run_beside_a_suspected_job_that_takes_long(lab: WorkerLab, tmp_path: Path) -> None:
    flag = tmp_path / "busy"
    flag.touch()
    long = suspected(lab, seconds=0.1, until_gone=str(flag))
    lab.start()
    wait_for(lambda: lab.notes("start", long), seconds=60)
    assert lab.entry(long).alone
    healthy = [lab.submit("lost.long", seconds=0.05) for _ in range(10)]
    for job_id in healthy:
        assert lab.wait(job_id).state is JobState.SUCCEEDED
    # It still runs, and its loss would not be its fault any more.
    assert lab.notes("end", long) == []
    assert not lab.entry(long).alone
    flag.unlink()
    assert lab.wait(long).state is JobState.SUCCEEDED


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 40.0])
def test_the_longest_wait_of_healthy_jobs_among_suspected_ones(
    lab: WorkerLab, seconds: float
) -> None:
    """Print it: how long it is says how well a machine does; that all run is the promise."""
    for _ in range(SUSPECTED):
        suspected(lab, seconds=seconds)
    lab.start()
    wait_for(lambda: lab.notes("start"), seconds=60)
    submitted: dict[str, float] = {}
    for _ in range(HEALTHY):
        submitted[lab.submit("lost.long", seconds=0.2)] = time.time()
        time.sleep(1)
    for job_id in submitted:
        assert lab.wait(job_id).state is JobState.SUCCEEDED
    started = {note["job"]: note["at"] for note in reversed(lab.notes("start"))}
    waits = sorted(started[job_id] - at for job_id, at in submitted.items())
    alone = len([note for note in lab.notes("end") if note["job"] not in submitted])
    print(f"healthy jobs waited {waits[len(waits) // 2]:.2f} s (median), {waits[-1]:.2f} s (most)")
    print(f"suspected jobs done meanwhile: {alone} of {SUSPECTED}")
    assert alone >= 1
    assert len(waits) == HEALTHY
