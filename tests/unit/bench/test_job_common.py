"""The senders' loop: each job once, each on a line of its own, however many threads there are."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3] / "bench" / "peers"))
import job_common


@pytest.mark.parametrize(("threads", "rate"), [(1, 0.0), (16, 0.0), (4, 100_000.0)])
def test_each_job_has_a_whole_line(
    threads: int, rate: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers, noted = itertools.count(), []

    def submit(sent: float) -> str:
        noted.append(sent)
        return f"job-{next(numbers)}"

    job_common.send(submit, threads, 2_000, rate, str(tmp_path / "sent"))
    lines = [line.split() for line in (tmp_path / "sent").read_text().splitlines()]
    # The first opens connections and is not measured.
    assert sorted(key for key, *_ in lines) == sorted(f"job-{n}" for n in range(1, 2_001))
    assert all(float(began) <= float(ended) for _, began, ended in lines)
    assert bool(rate) == all(noted[1:])  # only what is paced is noted by its task
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["latencies"]) == 2_000
    assert printed["latencies"] == sorted(printed["latencies"])


def test_a_task_notes_its_way_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_NOTES", str(tmp_path / "notes"))
    job_common.note(0.0)
    assert not (tmp_path / "notes").exists()
    job_common.note(1.0)
    job_common.note(2.0)
    assert len((tmp_path / "notes").read_text().splitlines()) == 2
