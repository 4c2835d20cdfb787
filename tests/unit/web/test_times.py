from __future__ import annotations

import pytest

from sealwax.web.times import iso


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (None, None),
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_780_000_000.1239, "2026-05-28T20:26:40.123Z"),
    ],
)
def test_times_are_utc_to_the_millisecond(at: float | None, text: str | None) -> None:
    assert iso(at) == text
