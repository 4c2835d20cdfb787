"""What the benchmark of whole jobs measures, and that one failure spoils no other column."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3] / "bench"))
import job
import job_run

ROOT = Path(__file__).parents[3]


def test_a_quick_run_is_small_and_a_full_one_has_all_latencies_and_pools() -> None:
    quick, full = job.parse(["--quick"]), job.parse([])
    assert (quick.latency, quick.pool) == ([5.0], ["prefork 4"])
    assert full.latency == [0.0, 5.0, 20.0]
    assert full.pool == ["prefork 4", "prefork 8", "threads 16"]
    assert job.parse(["--quick", "--latency", "20"]).latency == [20.0]


def test_another_checkout_is_a_column_under_its_folder_s_name(tmp_path: Path) -> None:
    given = job.parse(
        ["--tree", str(tmp_path / "older"), "--column", "sealwax", "--column", "older"]
    )
    found = job.columns(given)
    assert [(column.name, column.tree) for column in found] == [
        ("sealwax", ROOT),
        ("older", tmp_path / "older"),
    ]


def test_peers_do_fewer_jobs_since_they_take_longer() -> None:
    given = job.parse(["--jobs", "900", "--peer-jobs", "90"])
    ours = job.sealwax()
    (theirs, *_) = job.peers(Path("nowhere"))
    assert (job.size(ours, given).jobs, job.size(theirs, given).jobs) == (900, 90)


def test_medians_are_kept_and_a_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = iter([100.0, 300.0, 200.0])

    def measure(column: job.Column, latency: float, *_: object) -> dict[str, float]:
        if column.name == "older":
            raise job_run.Failed("3 of 5 jobs were not done")
        return {"jobs/s": next(rates)}

    monkeypatch.setattr(job, "measure", measure)
    file = tmp_path / "results" / "job.json"
    given = job.parse(
        ["--quick", "--repeat", "3", "--json", str(file), "--tree", str(tmp_path / "older"),
         "--column", "sealwax", "--column", "older"]
    )  # fmt: skip
    found = job.run(given, None)
    assert found["results"] == {"5 ms": {"sealwax": {"jobs/s": 200.0}}}
    assert found["failures"] == ["older at 5 ms: 3 of 5 jobs were not done"] * 3
    assert json.loads(file.read_text()) == found
