"""What must not come in through a dependency."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted(
    path
    for pattern in ("requirements/*.txt", "sealwax/local/*.txt", "tests/containers/*.txt")
    for path in ROOT.glob(pattern)
)


def test_there_are_locks() -> None:
    assert len(LOCKS) >= 5


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_pycurl_is_in_no_lock(path: Path) -> None:
    names = {line.lower() for line in re.findall(r"^([A-Za-z0-9_.-]+)==", path.read_text(), re.M)}
    assert names
    assert "pycurl" not in names
