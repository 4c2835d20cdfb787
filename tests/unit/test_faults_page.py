"""docs/faults.md names tests: each exists, and no comparison is missing from it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/faults.md").read_text()


def defined(paths: list[Path]) -> set[str]:
    return {
        name for path in paths for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.M)
    }


def test_every_named_test_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 40
    assert named <= defined(list((ROOT / "tests").rglob("test_*.py")))


def test_every_comparison_is_named() -> None:
    stock = defined([ROOT / "tests/faults/test_stock_kombu.py"])
    assert stock <= set(re.findall(r"`(test_\w+)`", PAGE))


def test_every_row_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 5, row
        assert cells[3].startswith("`test_"), row
