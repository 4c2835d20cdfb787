"""The threat model's rows: what an attacker "cannot" do names the tests that try it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/threat-model.md"
_TEST = re.compile(r"`(tests/[\w./-]+\.py)(?:::(\w+))?`")


def rows(text: str) -> dict[str, str]:
    """Return the last column of the table of footholds, by the first one."""
    table = text.partition("| Foothold | Can | Cannot |\n|---|---|---|\n")[2].partition("\n\n")[0]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()]
    assert all(len(row) == 3 for row in cells)
    return {row[0].strip(): row[2] for row in cells}


@cache
def source(path: str) -> str:
    file = ROOT / path
    return file.read_text("utf-8") if file.is_file() else ""


def missing(cell: str) -> list[str]:
    """Return the tests that a cell names and that do not exist."""
    return [
        f"{path}::{name}"
        for path, name in _TEST.findall(cell)
        if not re.search(rf"^def {name or 'test_'}", source(path), re.MULTILINE)
    ]


@pytest.mark.parametrize("foothold", rows(PAGE.read_text("utf-8")))
def test_each_cannot_names_tests_that_exist(foothold: str) -> None:
    cell = rows(PAGE.read_text("utf-8"))[foothold]
    assert _TEST.search(cell), f"{foothold}: no test tries it"
    assert missing(cell) == []


def test_there_are_rows_and_a_missing_test_is_found() -> None:
    assert len(rows(PAGE.read_text("utf-8"))) > 8
    here = "tests/unit/guards/test_threat_model.py"
    assert missing(f"`{here}::test_there_are_rows_and_a_missing_test_is_found`") == []
    assert missing(f"`{here}::test_no_such`") == [f"{here}::test_no_such"]
    assert missing("`tests/no_such.py::test_x`") == ["tests/no_such.py::test_x"]
