"""Notes of the sweep: their bytes, and how they are joined with the index of open jobs."""

from __future__ import annotations

from typing import Any, cast

from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from support.lab_dynamodb import LabTable
from support.ledger import Clock, numbered

from sealwax.control.table import ControlTable
from sealwax.provision import desired_state
from sealwax.settings import Settings
from sealwax.steward import sweep_notes
from sealwax.steward.sweep_notes import LONGEST, Note, Stretch, SweepNotes, aligned, pack, unpack

CONTROL = next(t for t in desired_state(Settings()).tables if t.name.endswith("-control"))
#: What DynamoDB takes as one item.
ITEM_BYTES = 400 * 1024


def test_notes_come_back_from_their_bytes():
    notes = {
        numbered(0): Note(4_000_000_000),
        numbered(1): Note(4_000_000_001, 1, "outbox"),
        numbered(2): Note(0, 63, "letter"),
        numbered(3): Note(5, 64, "unaccounted"),
    }
    assert unpack(pack(notes)) == notes | {numbered(3): Note(5, 63, "unaccounted")}
    assert unpack(pack(notes)[:-1]) == {}
    # Whoever puts another id into the index is looked at, always.
    assert unpack(pack({"x": Note(1), "A" * 32: Note(1)})) == {}


def test_a_full_item_is_one_that_dynamodb_takes():
    most = {numbered(n): Note(1) for n in range(20_000)}
    assert 0.9 * ITEM_BYTES < len(pack(most)) < ITEM_BYTES - 1_000
    assert len(pack(dict(list(most.items())[: sweep_notes.MOST]))) < ITEM_BYTES / 3


def test_a_note_is_believed_until_its_time_and_for_a_day_at_most():
    now = 1_000_000.0
    assert not Note(999_999).waits(now)
    assert not Note(1_000_000).waits(now)
    assert Note(1_000_001).waits(now)
    assert Note(int(now + LONGEST)).waits(now)
    assert not Note(int(now + LONGEST) + 1).waits(now)


@given(
    stored=st.lists(st.integers(0, 30), unique=True, max_size=6),
    rows=st.lists(st.integers(0, 40), max_size=30),
)
def test_each_open_job_is_in_one_stretch_in_order_and_no_stored_one_is_forgotten(stored, rows):
    stretches = [Stretch(float(n), {f"{n}": Note(n)}, (f"item {n}",)) for n in sorted(stored)]
    opened = [(float(moment), f"job {n}") for n, moment in enumerate(sorted(rows))]
    made = list(aligned(stretches, opened))
    assert [job for stretch in made for job in stretch.open] == [job for _, job in opened]
    assert [name for stretch in made for name in stretch.stored] == [
        f"item {n}" for n in sorted(stored)
    ]
    created = {job: moment for moment, job in opened}
    ends = [-1.0, *(stretch.until for stretch in made)]
    assert ends == sorted(ends)
    for after, stretch in zip(ends, made, strict=False):
        assert all(after < created[job] <= stretch.until for job in stretch.open)


def test_stretches_have_their_size_and_never_part_what_was_created_at_once(monkeypatch):
    monkeypatch.setattr(sweep_notes, "MOST", 10)
    rows = [(float(n // 4), numbered(n)) for n in range(44)]
    made = list(aligned([], rows))
    assert [len(stretch.open) for stretch in made] == [12, 12, 12, 8]
    # Few jobs are left in each: they become one again.
    few = [row for row in rows if int(row[1], 16) % 12 < 3]
    again = list(aligned([Stretch(s.until, {}, (str(s.until),)) for s in made], few))
    assert [len(stretch.open) for stretch in again] == [9, 3]
    assert again[0].stored == tuple(str(stretch.until) for stretch in made[:3])


def kept() -> tuple[SweepNotes, LabTable]:
    table = LabTable(CONTROL, limit=None)
    return SweepNotes(ControlTable(cast("Any", table), CONTROL.name), Clock()), table


def test_what_is_kept_replaces_what_was_and_nothing_is_kept_of_nothing():
    notes, table = kept()
    first, second = Stretch(5.0), Stretch(9.0)
    notes.keep("default", 1, second, {numbered(2): Note(2)})
    notes.keep("default", 1, first, {numbered(1): Note(1)})
    notes.keep("default", 2, first, {numbered(3): Note(3)})
    found = list(notes.stretches("default", 1))
    assert [(each.until, each.notes) for each in found] == [
        (5.0, {numbered(1): Note(1)}),
        (9.0, {numbered(2): Note(2)}),
    ]
    both = Stretch(9.0, stored=found[0].stored + found[1].stored)
    notes.keep("default", 1, both, {numbered(1): Note(7)})
    assert [each.notes for each in notes.stretches("default", 1)] == [{numbered(1): Note(7)}]
    # A lane's notes that nobody writes any more are dropped in the end.
    (item,) = [each for each in table.items.values() if each["kind"]["S"] == "sweep#default#1"]
    assert float(item["expires"]["N"]) > Clock().now + 2 * LONGEST
    (last,) = notes.stretches("default", 1)
    notes.keep("default", 1, last, {})
    assert list(notes.stretches("default", 1)) == []
    assert len(table.items) == 1


def test_without_the_control_table_there_are_no_notes_and_no_error():
    class Refusing:
        def __getattr__(self, name: str) -> Any:
            def refuse(**_: Any) -> None:
                answer: Any = {"Error": {"Code": "AccessDeniedException"}}
                raise ClientError(answer, name)

            return refuse

    notes = SweepNotes(ControlTable(cast("Any", Refusing()), CONTROL.name))
    assert list(notes.stretches("default", 0)) == []
    notes.keep("default", 0, Stretch(1.0, stored=("old",)), {numbered(1): Note(1)})
