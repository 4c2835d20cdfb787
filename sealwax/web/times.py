"""Points in time as every document and page gives them."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["iso"]


def iso(at: float | None, precision: str = "milliseconds") -> str | None:
    """Return epoch seconds in RFC 3339; `precision` is `milliseconds` or `seconds`."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec=precision).replace("+00:00", "Z")
