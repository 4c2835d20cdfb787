"""Growth: each run is compared with the one before, which had a tenth of the jobs."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3] / "bench"))
import job_growth


def test_times_are_compared_with_the_run_before() -> None:
    runs = [
        {"jobs": 2_000.0, "submit: seconds": 4.0, "consume: seconds": 10.0},
        {"jobs": 20_000.0, "submit: seconds": 42.0, "consume: seconds": 99.0},
        {"jobs": 200_000.0, "submit: seconds": 420.0, "consume: seconds": 1_089.0},
    ]
    found = job_growth.ratios(runs)
    assert list(found) == ["2,000 jobs", "20,000 jobs", "200,000 jobs"]
    assert found["2,000 jobs"] == runs[0]
    assert found["20,000 jobs"]["submit: seconds, times the run before"] == 10.5
    assert found["200,000 jobs"]["consume: seconds, times the run before"] == 11.0
