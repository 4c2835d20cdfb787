"""Each benchmark can be started: what it imports is there."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[3] / "bench"


@pytest.mark.parametrize("name", ["edge", "job", "neighbours", "transport"])
def test_a_benchmark_says_what_it_takes(name: str) -> None:
    told = subprocess.run(
        [sys.executable, str(BENCH / f"{name}.py"), "--help"],
        cwd=BENCH.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "usage:" in told.stdout
