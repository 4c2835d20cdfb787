"""Lists of letters over shards: whole, in order, and read on from any cursor."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.lab_dynamodb import LabTable
from support.ledger import numbered

from sealwax.aws.dynamodb import CursorInvalid
from sealwax.aws.shards import SHARDS_MAX
from sealwax.deadletters.lists import ListReader, read_place
from sealwax.deadletters.table import LettersTable
from sealwax.provision import desired_state
from sealwax.settings import Settings

LETTERS = next(t for t in desired_state(Settings()).tables if t.name.endswith("-letters"))
NAME = "open#g"


def table_of(lab: LabTable, shards: int, read: int | None = None) -> LettersTable:
    return LettersTable(cast("Any", lab), LETTERS.name, shards=shards, shards_read=read)


def put(table: LettersTable, number: int, at: float) -> tuple[float, str]:
    item = numbered(number)
    table.put({"id": item, "sort": "letter.0", "list": table.list_of(NAME, item), "at": at})
    return at, item


@settings(deadline=None, max_examples=60)
@given(
    # Few different moments: a batch's letters are archived at the same one.
    moments=st.lists(st.integers(0, 6), max_size=40),
    shards=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    limit=st.integers(1, 12),
    ahead=st.integers(1, 20),
    page=st.integers(1, 9),
    newest=st.booleans(),
    anew=st.booleans(),
)
def test_a_list_is_whole_and_in_order(moments, shards, limit, ahead, page, newest, anew):
    lab = LabTable(LETTERS, page=page, limit=None)
    # The count was changed in between.
    writers = [table_of(lab, count) for count in shards]
    there = [put(writers[n % 2], n, float(at)) for n, at in enumerate(moments)]
    table = table_of(lab, 1, max(shards))
    reader = ListReader(table, NAME, [], ahead=ahead, newest=newest)
    found: list[tuple[float, str]] = []
    for _ in range(len(moments) + 2):
        keys = reader.take(limit)
        found += [(float(each["at"]), each["id"]) for each in keys]
        if reader.ended:
            break
        assert len(keys) == limit
        if anew:
            # As a cursor goes to a browser, or to the next steward.
            place = read_place(json.loads(json.dumps(reader.place)), NAME)
            reader = ListReader(table, NAME, place, ahead=ahead, newest=newest)
    assert sorted(found) == sorted(there)
    assert [at for at, _ in found] == sorted((at for at, _ in there), reverse=newest)


def test_a_cursor_of_before_the_shards_is_read_on_in_the_lists_first_key():
    lab = LabTable(LETTERS, limit=None)
    old = table_of(lab, 1)
    there = [put(old, number, float(number)) for number in range(6)]
    after = old.listed(NAME, limit=3).after
    assert after is not None
    place = read_place(json.loads(json.dumps(after)), NAME)
    keys = ListReader(table_of(lab, 8), NAME, place, ahead=10).take(10)
    assert [(float(each["at"]), each["id"]) for each in keys] == there[3:]
    # Of another list it is no cursor of this one.
    with pytest.raises(CursorInvalid):
        read_place(dict(after), "open#other")


@pytest.mark.parametrize(
    "place",
    [
        "x",
        5,
        {"id": "a", "sort": "b", "at": 1.0},
        [1],
        [{"id": "a", "sort": "b"}],
        [{"id": "a", "sort": "b", "at": "1"}],
        [{"id": "a", "sort": "b", "at": 1.0, "list": "open#other"}],
        [None] * (SHARDS_MAX + 1),
    ],
)
def test_whatever_else_bears_a_cursors_name_is_refused(place):
    with pytest.raises(CursorInvalid):
        read_place(place, NAME)


def test_letters_of_before_the_cut_off_alone_are_read():
    lab = LabTable(LETTERS, limit=None)
    table = table_of(lab, 4)
    there = [put(table, number, float(number)) for number in range(20)]
    reader = ListReader(table, NAME, [], ahead=7, since=3.0, until=11.0)
    assert [(float(each["at"]), each["id"]) for each in reader.take(50)] == there[3:12]
    assert reader.ended
