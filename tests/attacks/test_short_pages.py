"""DynamoDB ends a page at 1 MB, before the limit: what comes after it is still shown."""

from __future__ import annotations

from typing import Any

import pytest
from support.lab_dynamodb import LabTable

from sealwax.control.audit_log import Audit
from sealwax.deadletters.archive import Archive, open_list
from sealwax.deadletters.groups import LetterGroups, moving
from sealwax.deadletters.letter import LetterState
from sealwax.deadletters.table import LettersTable
from sealwax.provision import desired_state
from sealwax.settings import Settings

TABLES = {t.name.rpartition("-")[2]: t for t in desired_state(Settings()).tables}
NOW = 4_000_000_000.0


@pytest.mark.parametrize("page", [1, 2, 7, 1_000])
@pytest.mark.parametrize("limit", [1, 3, 50])
def test_an_audit_page_has_all_lines_of_a_day_before_the_day_before(page: int, limit: int) -> None:
    now = [NOW]
    table = LabTable(TABLES["audit"], page=page)
    audit = Audit(table, TABLES["audit"].name, clock=lambda: now[0], sleep=lambda _: None)
    for number in range(14):
        audit.record(actor="me", verb="lane.pause", target=str(number))
        now[0] += 86_400 / 7
    found: list[str] = []
    after: str | None = None
    while True:
        lines, after = audit.page(limit=limit, after=after, days=10)
        found += [line.target for line in lines]
        if after is None:
            break
    assert found == [str(number) for number in reversed(range(14))]


@pytest.mark.parametrize("page", [1, 2, 1_000])
def test_an_archives_page_goes_on_in_the_group_whose_page_ended(
    page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = TABLES["letters"]
    table = LettersTable(LabTable(spec, page=page), spec.name, sleep=lambda _: None)
    for group in ("a" * 16, "b" * 16):
        table.transact([moving(group, {LetterState.OPEN: 5}, now=NOW)])
        for number in range(5):
            table.put(
                {
                    "id": f"{group[0]}{number}", "sort": "letter.0",
                    "list": table.list_of(open_list(group), f"{group[0]}{number}"),
                    "at": NOW + number,
                }
            )  # fmt: skip
    archive = Archive(table, None, LetterGroups(table))
    # What a letter is made of is not looked at here.
    fetched: list[Any] = []
    monkeypatch.setattr(archive, "_fetch", lambda keys: fetched.extend(keys) or [])
    after = None
    for _ in range(60):
        after = archive.page(after=after, limit=4).after
        if after is None:
            break
    assert after is None
    assert sorted(each["id"] for each in fetched) == [f"{g}{n}" for g in "ab" for n in range(5)]
