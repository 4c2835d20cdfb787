"""The way of a job stays short: to its queue, and from there to its function.

Measured by `tools/paths.py`, which says what counts, in a process of its own: it
forks a worker.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "tools"))
import paths  # noqa: E402 - a program, not a package

LISTED = [
    name
    for by_reason in (paths.DETAILS, paths.NOT_LAYERS)
    for names in by_reason.values()
    for name in names
]


def test_the_way_of_a_job_is_short() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "paths.py"), "--json"],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    # Not so few that something was not seen, either.
    assert 15 < found["hops"] <= 24
    assert 8 < found["layers"] <= 14
    # Two of the batcher's run only where its thread is still busy with the request before.
    assert found["hops"] < found["frames"]["hops"] <= 82
    assert found["layers"] < found["frames"]["layers"] <= 17


@pytest.mark.parametrize("name", LISTED)
def test_what_does_not_count_exists(name: str) -> None:
    module, _, function = name.partition(":")
    source = (ROOT / "sealwax" / f"{module}.py").read_text()
    assert re.search(rf"def {function.rpartition('.')[2]}\b", source), f"{name} is gone: unlist it"


@pytest.mark.parametrize("module", sorted(paths.VALUES | paths.HTTP_CLIENT))
def test_modules_of_values_exist(module: str) -> None:
    assert (ROOT / "sealwax" / f"{module}.py").is_file()
