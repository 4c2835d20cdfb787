"""Which failed tests are run again: a few, and only where some are known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[3] / "tools" / "failed_tests.py"


@pytest.mark.parametrize(("failed", "status"), [(None, 1), (0, 1), (1, 0), (5, 0), (6, 1), (99, 1)])
def test_one_to_five_are_run_again(tmp_path: Path, failed: int | None, status: int) -> None:
    if failed is not None:
        cache = tmp_path / ".pytest_cache/v/cache"
        cache.mkdir(parents=True)
        names = {f"tests/test_a.py::test_{number}": True for number in range(failed)}
        (cache / "lastfailed").write_text(json.dumps(names))
    done = subprocess.run(
        [sys.executable, str(TOOL), "--most", "5"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == status
    assert done.stdout.startswith(f"{failed or 0} failed")
    assert ("tests/test_a.py::test_0" in done.stdout) is bool(failed)
