"""Points in time as every document of the API gives them."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["iso"]


def iso(at: float | None) -> str | None:
    """Return epoch seconds in RFC 3339, to the millisecond."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
