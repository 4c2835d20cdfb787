"""Requests in the control table: taken once, whatever else lies beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sealwax.control.table import ConditionFailed
from sealwax.deadletters.errors import NoSuchReveal
from sealwax.deadletters.reveal import LOOKS_MAX, TAKEN, Asked, Reveals

NOW = 1_000_000.0


class Table:
    """As many rows as a test wants, and how many were read."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = {row["id"]: row for row in rows}
        self.read = 0

    def all(self, _: str) -> Iterator[dict[str, Any]]:
        for row in list(self.rows.values()):
            self.read += 1
            yield dict(row)

    def get(self, _: str, item_id: str) -> dict[str, Any] | None:
        return dict(self.rows[item_id]) if item_id in self.rows else None

    def update(
        self, _: str, item_id: str, update: str, condition: str, values: dict[str, Any]
    ) -> None:
        row = self.rows[item_id]
        before = (values.get(":state"), values.get(":before"))
        if ":before" in values and (row["state"], row["taken"]) != before:
            raise ConditionFailed
        if ":token" in values and "holder = :token" in condition:
            if row.get("holder") != values[":token"]:
                raise ConditionFailed
            row |= {"state": values[":state"], "sealed": values.get(":sealed")}
        elif ":before" in values:
            row |= {"state": "taken", "taken": values[":now"], "holder": values[":token"]}
        else:
            row |= {"state": values[":shown"]}
            row.pop("sealed", None)


def row(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"{number:032x}", "letter": "x", "queue": "q", "actor": "token:a", "state": "asked",
        "taken": 0.0, "expires": NOW + 600, "reason": "why",
    } | changes  # fmt: skip


def reveals(*rows: dict[str, Any], now: float = NOW) -> tuple[Reveals, Table]:
    table: Any = Table(list(rows))
    return Reveals(table, clock=lambda: now), table


def test_a_request_is_taken_by_one_worker_and_by_another_when_that_is_silent() -> None:
    one, table = reveals(row())
    taken = one.take("q")
    assert taken == Asked(
        id=f"{1:032x}",
        token=taken.token if taken else "",
        letter="x",
        actor="token:a",
        reason="why",
    )
    assert one.take("q") is None
    early: Any = Reveals(table, clock=lambda: NOW + TAKEN)  # type: ignore[arg-type]  # a stand-in
    late: Any = Reveals(table, clock=lambda: NOW + TAKEN + 1)  # type: ignore[arg-type]
    assert early.take("q") is None
    again = late.take("q")
    assert again is not None
    # The silent one comes back, too late.
    assert taken is not None
    assert not one.answer(taken, sealed="first")
    assert one.answer(again, sealed="second")
    assert one.show(again.id, actor="token:a").sealed == "second"
    with pytest.raises(NoSuchReveal):
        one.show(again.id, actor="token:a")


@pytest.mark.parametrize(
    "change",
    [
        {"queue": "other"}, {"expires": NOW - 1}, {"state": "done"}, {"id": "not-one"},
        {"taken": "x"}, {"expires": None}, {"state": ["asked"]},
    ],
)  # fmt: skip
def test_what_is_not_to_be_taken_does_not_hide_what_is(change: dict[str, Any]) -> None:
    found, _ = reveals(row(1, **change), row(2))
    taken = found.take("q")
    assert taken is not None
    assert taken.id == f"{2:032x}"


def test_members_that_are_no_texts_count_as_absent() -> None:
    found, _ = reveals(row(letter=7, actor=["x"], reason={}, statement=True))
    taken = found.take("q")
    assert taken is not None
    assert (taken.letter, taken.actor, taken.reason, taken.statement) == (None,) * 4


def test_a_flood_of_rows_does_not_hold_a_worker() -> None:
    found, table = reveals(*(row(number, state="done") for number in range(3 * LOOKS_MAX)))
    assert found.take("q") is None
    assert table.read == LOOKS_MAX


def test_another_asker_sees_nothing() -> None:
    found, _ = reveals(row(state="done", sealed="x"))
    for look in (found.show, found.look):
        with pytest.raises(NoSuchReveal):
            look(f"{1:032x}", actor="token:b")
