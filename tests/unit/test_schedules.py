from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from sealwax.schedules import Schedule, latest_tick


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("when", "now", "tick"),
    [
        ({"every": 60}, "2026-03-01T12:00:59", "2026-03-01T12:00:00"),
        ({"every": 7}, "1970-01-01T00:00:20", "1970-01-01T00:00:14"),
        ({"cron": "* * * * *"}, "2026-03-01T12:00:59", "2026-03-01T12:00:00"),
        ({"cron": "*/15 * * * *"}, "2026-03-01T12:44:00", "2026-03-01T12:30:00"),
        ({"cron": "0 3 * * *"}, "2026-03-01T12:00:00", "2026-03-01T03:00:00"),
        ({"cron": "0 3 * * *"}, "2026-03-01T02:59:59", "2026-02-28T03:00:00"),
        ({"cron": "0 3 * * 0"}, "2026-03-01T12:00:00", "2026-03-01T03:00:00"),  # a Sunday
        ({"cron": "0 3 * * mon"}, "2026-03-01T12:00:00", None),
        ({"cron": "0 3 1 * mon"}, "2026-03-01T12:00:00", "2026-03-01T03:00:00"),
        ({"cron": "0 3 1 4 *"}, "2026-03-01T12:00:00", None),
    ],
)
def test_the_latest_tick_is_the_last_one_up_to_now(when, now, tick):
    schedule = Schedule(task="t.x", **when)
    assert latest_tick(schedule, at(now)) == (None if tick is None else at(tick))


@pytest.mark.parametrize(
    "when", [{}, {"every": 60, "cron": "* * * * *"}, {"cron": "* * * *"}, {"cron": "61 * * * *"}]
)
def test_a_schedule_has_either_a_period_or_five_cron_fields(when):
    with pytest.raises(ValidationError):
        Schedule(task="t.x", **when)
