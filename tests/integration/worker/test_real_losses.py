"""Children and whole workers that die under jobs: real processes, real signals."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest
from support.waiting import wait_for
from support.worker_lab import WorkerLab

from sealwax.ledger import JobState


def _runs(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"  # ended; its new parent has not looked yet


@pytest.mark.long
def test_jobs_that_kill_their_child_each_time_are_dead_as_crashed_and_neighbours_are_not(
    lab: WorkerLab,
) -> None:
    worker = lab.start()
    poison = [lab.submit("lost.segfault"), lab.submit("lost.exits")]
    neighbours = [lab.submit("lost.well") for _ in range(6)]
    for job_id in poison:
        entry = lab.wait(job_id)
        assert (entry.state, entry.reason, entry.crashes) == (JobState.DEAD, "crashed", 3)
        assert entry.suspicions == 0
    for job_id in neighbours:
        entry = lab.wait(job_id)
        assert (entry.state, entry.attempts, entry.crashes) == (JobState.SUCCEEDED, 1, 0)
    assert len(lab.notes("segfault")) == len(lab.notes("exits")) == 3
    # What a task prints is not in the log, that it did so is.
    text = worker.text()
    assert ("PRINTED" in text, "output withheld" in text) == (False, True)


@pytest.mark.slow
def test_a_healthy_job_survives_four_lost_workers(lab: WorkerLab, tmp_path: Path) -> None:
    flag = tmp_path / "busy"
    flag.touch()
    healthy = lab.submit("lost.long", seconds=0.1, until_gone=str(flag))
    for number in range(1, 5):
        worker = lab.start()
        # Neighbours, so that it is one among several.
        lab.submit("lost.long", seconds=0.5)
        wait_for(
            partial(lab.started, healthy, number),
            seconds=180,
            what=f"attempt {number}",
        )
        worker.kill()
    flag.unlink()
    lab.start()
    entry = lab.wait(healthy, seconds=180)
    assert entry.state is JobState.SUCCEEDED
    assert (entry.suspicions, entry.crashes) == (2, 2)
    assert len(lab.notes("end", healthy)) == 1


@pytest.mark.slow
def test_a_paused_workers_late_finish_is_refused_and_logged(lab: WorkerLab, tmp_path: Path) -> None:
    flag = tmp_path / "busy"
    flag.touch()
    paused = lab.start()
    job_id = lab.submit("lost.long", seconds=0.1, until_gone=str(flag))
    (first,) = wait_for(lambda: lab.notes("start", job_id), seconds=60)
    paused.signal(signal.SIGSTOP)
    flag.unlink()
    lab.start()
    entry = lab.wait(job_id)
    assert entry.state is JobState.SUCCEEDED
    finished, token = entry.finished, entry.token
    assert [note["pid"] == first["pid"] for note in lab.notes("end", job_id)] == [False]
    paused.signal(signal.SIGCONT)
    wait_for(lambda: "late success refused" in paused.text(), seconds=60)
    entry = lab.entry(job_id)
    assert (entry.state, entry.finished, entry.token) == (JobState.SUCCEEDED, finished, token)
    assert len(lab.notes("end", job_id)) == 2


@pytest.mark.slow
def test_memory_bombs_and_hard_time_limits_end_as_exhausted(lab: WorkerLab) -> None:
    lab.start()
    bomb, hang = lab.submit("lost.memory"), lab.submit("lost.hangs")
    # The kill is announced to the child, which may tell of it before the parent.
    for job_id, causes in ((bomb, {"out-of-memory"}), (hang, {"time-limit", "terminated"})):
        entry = lab.wait(job_id)
        assert (entry.state, entry.reason) == (JobState.DEAD, "exhausted")
        assert entry.cause in causes
        assert (entry.attempts, entry.crashes) == (2, 0)
    assert lab.wait(lab.submit("lost.well")).state is JobState.SUCCEEDED


@pytest.mark.long
def test_a_worker_that_does_not_end_in_time_gives_back_what_it_runs_and_ends(
    lab: WorkerLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALWAX_LIMITS", '{"stop_seconds": 2}')
    flag = tmp_path / "busy"
    flag.touch()
    stopped = lab.start()
    job_id = lab.submit("lost.long", seconds=0.1, until_gone=str(flag))
    (first,) = wait_for(lambda: lab.notes("start", job_id), seconds=60)
    os.kill(stopped.process.pid, signal.SIGTERM)
    assert stopped.process.wait(60) == 0
    assert "shutdown deadline passed" in stopped.text()
    wait_for(lambda: not _runs(first["pid"]), seconds=30, what="the child's end")
    # Given back, not left to the end of its lease: another worker begins at once.
    entry = lab.entry(job_id)
    assert (entry.state, entry.attempts, entry.suspicions) == (JobState.RETRYING, 0, 0)
    flag.unlink()
    lab.start()
    entry = lab.wait(job_id)
    assert (entry.state, entry.attempts) == (JobState.SUCCEEDED, 1)
    assert (entry.suspicions, entry.crashes) == (0, 0)
    assert len(lab.notes("end", job_id)) == 1
