"""The chain of audit lines: each way to tamper with it is found, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.control.audit_chain import START, ChainHead, line_hash, verify_chain

NOW = 1_000_000.0
Lines = list[dict[str, Any]]


def chain(count: int, *, expires: Callable[[int], int] = lambda _: 2_000_000) -> Lines:
    lines: Lines = []
    for number in range(1, count + 1):
        last = lines[-1] if lines else None
        lines.append(
            {
                "id": f"{number:04d}", "day": "2026-01-01", "at": 1_000.5 + number,
                "actor": "token:a", "verb": "lane.pause", "target": f"lane {number}",
                "number": number, "before": line_hash(last) if last else START,
                "expires": expires(number), "before_expires": last["expires"] if last else 0,
            }
        )  # fmt: skip
    return lines


def head_of(lines: Lines) -> ChainHead:
    if not lines:
        return ChainHead()
    last = lines[-1]
    return ChainHead(count=last["number"], hash=line_hash(last), expires=last["expires"])


def verified(lines: Lines, head: ChainHead, **more: Any) -> str | None:
    return verify_chain(lines, lambda: head, now=NOW, **more).bad


def change(lines: Lines, at: int, **values: Any) -> Lines:
    return [line | values if n == at else line for n, line in enumerate(lines)]


def test_a_chain_that_nobody_touched_is_well():
    for count in (0, 1, 2, 7):
        lines = chain(count)
        report = verify_chain(lines, partial(head_of, lines), now=NOW)
        assert (report.bad, report.lines) == (None, count)


@pytest.mark.parametrize(
    ("tampered", "bad"),
    [
        (lambda lines: change(lines, 2, target="lane X"), "0003"),
        (lambda lines: change(lines, 2, extra="x"), "0003"),
        (lambda lines: change(lines, 2, expires=9_000_000), "0003"),
        (lambda lines: change(lines, 4, actor="token:b"), "0005"),
        (lambda lines: change(lines, 5, actor="token:b"), "0006"),
        (lambda lines: change(lines, 3, before="1" * 64), "0004"),
        (lambda lines: lines[:2] + lines[3:], "0004"),
        (lambda lines: lines[1:], "0002"),
        (lambda lines: lines[:-1], "head"),
        (lambda _: [], "head"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "0003"),
        (lambda lines: [*lines[:2], lines[1] | {"id": "0002b"}, *lines[2:]], "0002b"),
        (lambda lines: [*lines[:2], {"id": "old", "at": 1}, *lines[2:]], "old"),
        (lambda lines: [*lines, lines[-1] | {"number": 7, "id": "0007"}], "0007"),
        (lambda lines: change(lines, 0, before="1" * 64), "0001"),
        (lambda lines: change(lines, 3, number=None), "0004"),
        (lambda lines: change(lines, 3, before_expires=0, number=5), "0005"),
    ],
)
def test_each_tampering_names_the_first_bad_line(tampered, bad):
    lines = chain(6)
    assert verified(tampered(lines), head_of(lines)) == bad


def test_an_appended_line_that_the_head_does_not_know_is_found():
    lines = chain(7)
    assert verified(lines, head_of(lines[:6])) == "head"


def test_a_new_chain_is_found_by_a_head_that_was_kept():
    lines = chain(6)
    kept = (4, line_hash(lines[3]))
    anew = chain(6, expires=lambda _: 2_000_001)
    assert verified(anew, head_of(anew)) is None
    assert verified(lines, head_of(lines), kept=kept) is None
    assert verified(anew, head_of(anew), kept=kept) == "0004"
    shorter = chain(3)
    assert verified(shorter, head_of(shorter), kept=kept) == "head"
    # A kept line that was not read proves nothing.
    assert verified(lines[4:], head_of(lines), kept=kept, whole=False) == "head"


def test_lines_that_have_expired_may_be_gone_and_others_may_not():
    lines = chain(6, expires=lambda number: 10 if number < 4 else 2_000_000)
    assert verified(lines[3:], head_of(lines)) is None
    assert verified([lines[0], *lines[3:]], head_of(lines)) is None
    assert verified(lines[4:], head_of(lines)) == "0005"
    gone = chain(3, expires=lambda _: 10)
    assert verified([], head_of(gone)) is None


def test_old_lines_without_a_hash_come_before_the_chain():
    lines = [{"id": "0000", "at": 1.0, "actor": "a"}, *chain(2)]
    report = verify_chain(lines, lambda: head_of(lines), now=NOW)
    assert (report.bad, report.lines, report.unchained, report.first) == (None, 2, 1, 1)


def test_reading_from_a_day_on_begins_in_the_middle():
    lines = chain(6)
    assert verified(lines[3:], head_of(lines), whole=False) is None
    assert verified(lines[3:], head_of(lines)) == "0004"


def test_a_number_hashes_alike_before_and_after_dynamodb():
    assert line_hash({"at": 5.0, "count": None}) == line_hash({"at": 5})
    assert line_hash({"at": 5.001}) != line_hash({"at": 5.002})


@given(
    st.integers(2, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))),
    st.sampled_from(["id", "day", "actor", "verb", "target", "expires", "before_expires"]),
)
def test_no_attribute_of_any_line_can_be_changed(size, name):
    count, at = size
    lines = chain(count)
    assert verified(change(lines, at, **{name: "changed"}), head_of(lines)) is not None
