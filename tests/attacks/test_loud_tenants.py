"""A tenant whose jobs all wait for a downstream that hangs, beside others in the same lane.

A real worker; the jobs hold their slots for as long as a file is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import wait_for
from support.worker_lab import WorkerLab, keep_variables

from sealwax.ledger import JobState
from sealwax.settings import Settings

SLOTS, LOUD, CALM = 4, 20, 10


@pytest.fixture
def lab(
    provisioned: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WorkerLab]:
    keep_variables(monkeypatch)
    lab = WorkerLab.make(provisioned, tmp_path, concurrency=SLOTS, prefetch=2)
    yield lab
    lab.close()


@pytest.mark.long
def test_a_tenant_whose_jobs_hang_leaves_half_of_a_worker_to_the_others(
    lab: WorkerLab, tmp_path: Path
) -> None:
    flag = tmp_path / "hangs"
    flag.touch()
    lab.start()
    # Who is alone has all slots: another has been there.
    lab.wait(lab.submit("lost.well", by="calm"))
    loud = [
        lab.submit("lost.long", by="loud", seconds=0.0, until_gone=str(flag)) for _ in range(LOUD)
    ]
    wait_for(lambda: len(lab.notes("start")) >= SLOTS // 2, seconds=120, what="hanging jobs")
    calm = [lab.submit("lost.well", by="calm") for _ in range(CALM)]
    ended = [lab.wait(job, seconds=60) for job in calm]
    assert {entry.state for entry in ended} == {JobState.SUCCEEDED}
    assert len(lab.notes("start")) == SLOTS // 2
    assert lab.notes("end") == []
    flag.unlink()
    after = [lab.wait(job) for job in loud]
    # Nothing is lost, nothing ran twice, and what was given back was not charged.
    assert Counter((entry.state, entry.attempts) for entry in after) == {
        (JobState.SUCCEEDED, 1): LOUD
    }
    assert len(lab.notes("end")) == LOUD
