from __future__ import annotations

import pytest
from support.expiries import FAR

from sealwax.aws.dynamodb import CursorInvalid
from sealwax.deadletters import make_letters

DAY = 86_400.0


def test_lines_are_listed_newest_first_across_days_and_exported(letter_settings, aws):
    now = [FAR]
    audit = make_letters(letter_settings, aws, clock=lambda: now[0]).audit
    for number in range(5):
        audit.record(actor="token:a", verb="lane.pause", target=f"lane {number}", reason="why")
        now[0] += DAY / 2
    audit.record(actor="token:b", verb="replay.start", target={"group": "x"}, count=7)

    first, after = audit.page(limit=4)
    rest, end = audit.page(limit=4, after=after)
    assert [line.target for line in first + rest] == [
        '{"group":"x"}', "lane 4", "lane 3", "lane 2", "lane 1", "lane 0",
    ]  # fmt: skip
    assert first[0].count == 7
    assert rest[-1].reason == "why"
    assert end is not None or len(rest) < 4
    exported = list(audit.export(since=FAR, until=FAR + DAY))
    assert [line.target for line in exported] == ["lane 0", "lane 1", "lane 2"]


def test_a_foreign_cursor_is_refused(letters):
    with pytest.raises(CursorInvalid):
        letters.audit.page(after="yesterday")
