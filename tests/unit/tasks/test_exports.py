"""Exports line by line."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.exports import Export, columns_of, guard, lines

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
RECORDS = st.lists(
    st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | TEXT, max_size=4), max_size=5
)


@given(RECORDS)
def test_json_lines_hold_the_same_values(records):
    written = b"".join(lines(records, "jsonl")).decode()
    assert [json.loads(line) for line in written.split("\n")[:-1]] == records


@given(RECORDS)
def test_csv_has_one_row_a_record_and_no_formula(records):
    columns = columns_of(records)
    written = b"".join(lines(records, "csv", columns)).decode()
    rows = list(csv.reader(io.StringIO(written, newline="")))
    if columns:
        assert len(rows) == len(records) + 1
    for row, record in zip(rows[1:], records, strict=False):
        for cell, name in zip(row, columns, strict=True):
            value = record.get(name)
            if isinstance(value, str):
                assert cell == guard(value)


def test_the_guard_holds_for_names_values_and_what_is_nested():
    records = [{"\ufeff=a": "hello;=1+1", "b": ["x;=1+1"]}]
    written = b"".join(lines(records, "csv", ["\ufeff=a", "b"])).decode()
    assert list(csv.reader(io.StringIO(written, newline=""))) == [
        ["'\ufeff=a", "b"],
        ["hello;'=1+1", '["x;\'=1+1"]'],
    ]


def test_numbers_below_zero_are_not_text_and_stay():
    assert b"".join(lines([{"n": -5, "t": "-5"}], "csv", ["n", "t"])) == b"n,t\r\n-5,'-5\r\n"


def test_nulls_nested_values_and_missing_fields():
    records = [{"a": None, "b": {"c": [1, "ä"]}}, {"b": True}]
    assert b"".join(lines(records, "csv", ["a", "b"])).decode() == (
        'a,b\r\n,"{""c"": [1, ""ä""]}"\r\n,true\r\n'
    )


def test_lone_surrogates_do_not_stop_an_export():
    assert json.loads(b"".join(lines([{"a": "\ud800"}], "jsonl"))) == {"a": "\ud800"}
    assert b"".join(lines([{"a": "\ud800"}], "csv", ["a"])) == b"a\r\n?\r\n"


def test_columns_must_differ():
    with pytest.raises(ValidationError):
        Export(records=[], columns=["a", "a"])
