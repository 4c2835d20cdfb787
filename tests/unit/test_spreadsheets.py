"""CSV as hostile readers see it: whatever they strip and split at, no cell is a formula."""

from __future__ import annotations

import csv
import io
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.spreadsheets import csv_lines, guard

#: What is not shown, or taken away before a cell is looked at.
UNSEEN = [
    "\ufeff", "\u200b", "\u200e", "\u2060", "\u00ad", "\x00", "\x01", " ", "\u00a0", "\u3000",
    "\t", "\r", "\n", "\x0b", "\x85", "\u2028", "\ufe0f", "\u034f", "\u3164", "\u115f", "\u2800",
    "\ufffe", "\ue000", "\U000e0001", '"', "\u0301",
]  # fmt: skip
SIGNS = ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\ufe66", "\ufe62", "\ufe63",
         "\ufe6b", "\u207c", "\u208a", "\u2212"]  # fmt: skip
HOSTILE = st.lists(
    st.sampled_from([*UNSEEN, *SIGNS, ";", "|", ",", "'", "1", "ID", "x"]), max_size=8
).map("".join)


def is_formula(cell: str) -> bool:
    """Whether a reader that strips all that is not shown sees a formula's sign first."""
    for character in cell:
        if character in UNSEEN or unicodedata.category(character)[0] in "CZM":
            continue
        return unicodedata.normalize("NFKC", character)[0] in "=+-@\u2212"
    return False


def split_as(text: str, delimiter: str) -> list[str]:
    """Return the cells of a reader that splits at `delimiter` and at lines, heeding no quotes."""
    return re.split(rf"[{re.escape(delimiter)}\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", text)


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("before", ["", *UNSEEN, "\ufeff\u200b \t"])
def test_a_formula_is_guarded_whatever_goes_before_it(before: str, sign: str) -> None:
    cell = f"{before}{sign}1+1"
    assert is_formula(cell)
    assert guard(cell).startswith("'")
    assert guard(cell).replace("'", "") == cell


@pytest.mark.parametrize("delimiter", [";", "\t", "|", "\n", "\r", "\r\n", "\u2028"])
def test_a_formula_behind_another_delimiter_is_guarded(delimiter: str) -> None:
    for before in ("", " ", "\ufeff", '"'):
        guarded = guard(f"hello{delimiter}{before}=1+1{delimiter}x")
        assert guarded == f"hello{delimiter}'{before}=1+1{delimiter}x"


@pytest.mark.parametrize("cell", ["\tx", "\rx", "\nx", "\x00x", "\x1fx"])
def test_a_control_character_at_the_start_is_guarded(cell: str) -> None:
    assert guard(cell) == f"'{cell}"


@pytest.mark.parametrize(
    "cell", ["", "a=b", "1", "'=1", "ä", "x@example.com", "a; b", "5 - 3", "\ufefftext", "a,=b"]
)
def test_other_cells_stay(cell: str) -> None:
    assert guard(cell) == cell


@pytest.mark.parametrize("name", ["ID", "ID_ACCOUNT", "IDENTITY", "\ufeffID", " ID", "\u200bIDs"])
def test_no_file_begins_as_sylk_does(name: str) -> None:
    first, *_ = csv_lines([name, "ID"], [])
    assert first == f"'{name},ID\r\n"


@pytest.mark.parametrize("name", ["id", "Id", "a ID", "I", "=ID"])
def test_other_first_columns_have_no_second_apostrophe(name: str) -> None:
    assert next(csv_lines([name], [])) == f"{guard(name)}\r\n"


@given(st.lists(st.lists(HOSTILE | st.text(), min_size=1, max_size=3), min_size=1, max_size=3))
def test_no_reader_finds_a_formula(rows: list[list[str]]) -> None:
    text = "".join(csv_lines(rows[0], rows[1:]))
    for cells in csv.reader(io.StringIO(text, newline="")):
        assert not any(map(is_formula, cells))
    for delimiter in (";", "\t", "|"):
        assert not any(map(is_formula, split_as(text, delimiter)))
    assert not text.lstrip("\ufeff\u200b \t\x00").startswith("ID")


@given(HOSTILE | st.text())
def test_a_guarded_cell_needs_no_second_guard_and_loses_nothing(cell: str) -> None:
    assert guard(guard(cell)) == guard(cell)
    assert guard(cell).replace("'", "") == cell.replace("'", "")


def test_values_of_json() -> None:
    rows = [[None, True, -5, 0.5, "-5", {"a": "x;=1"}]]
    assert list(csv_lines(["a", "b", "c", "d", "e", "f"], rows)) == [
        "a,b,c,d,e,f\r\n", ',true,-5,0.5,\'-5,"{""a"": ""x;\'=1""}"\r\n',
    ]  # fmt: skip
