"""When periodic jobs are due: a schedule as a value, its ticks as a pure function.

Read from the settings; asked by who fires. Times are UTC: a local clock that
is put forward or back would skip a tick or have one twice.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Schedule", "latest_tick"]

#: Seconds that are looked back for a cron tick: a firing missed for longer is not made up for.
_BACK = 86_400


class Schedule(BaseModel):
    """One periodic job: what, for whom, and when (`every` or `cron`)."""

    model_config = ConfigDict(extra="forbid")

    task: str = Field(description="Name of the task that is submitted each tick.")
    payload: Any = Field(
        default_factory=dict,
        description="Payload as in a submission; it stands in the settings, so nothing secret.",
    )
    tenant: str = Field("schedules", min_length=1, description="Tenant whose job it is.")
    every: int | None = Field(
        None,
        ge=1,
        le=31 * 86_400,
        description="Seconds between two ticks, counted from the epoch.",
    )
    cron: str | None = Field(
        None, description="Minute, hour, day of month, month, day of week (0: Sunday), in UTC."
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.every is None) == (self.cron is None):
            raise ValueError("give either every or cron")
        if self.cron is not None:
            try:
                _fields(self.cron)
            except ValueError:
                raise ValueError("cron has five fields, such as 0 3 * * *") from None
        return self


@lru_cache(maxsize=256)
def _fields(cron: str) -> tuple[frozenset[int], ...]:
    # Here, so that a command line without schedules does not load Celery.
    from celery.schedules import ParseException, crontab_parser

    parts = cron.split()
    ranges = ((60, 0), (24, 0), (31, 1), (12, 1), (7, 0))
    if len(parts) != len(ranges):
        raise ValueError("not five fields")
    try:
        return tuple(
            frozenset(crontab_parser(most, least).parse(part))
            for part, (most, least) in zip(parts, ranges, strict=True)
        )
    except ParseException as error:
        raise ValueError("not a cron field") from error


def latest_tick(schedule: Schedule, now: float) -> int | None:
    """Return the epoch second of the last tick up to `now`; None: none for a day. Pure."""
    if schedule.every is not None:
        return int(now // schedule.every * schedule.every)
    minutes, hours, days, months, weekdays = _fields(schedule.cron or "")
    moment = datetime.fromtimestamp(now - now % 60, UTC)
    restricted = (len(days) < 31, len(weekdays) < 7)
    for _ in range(_BACK // 60):
        if moment.minute in minutes and moment.hour in hours and moment.month in months:
            by_day = moment.day in days
            by_weekday = moment.isoweekday() % 7 in weekdays
            # As in cron: where both are restricted, either will do.
            if (by_day or by_weekday) if all(restricted) else (by_day and by_weekday):
                return int(moment.timestamp())
        moment -= timedelta(minutes=1)
    return None
