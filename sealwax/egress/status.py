"""What a status, a Retry-After header and an error mean for a job: pure functions."""

from __future__ import annotations

import datetime as dt
import re
from email.utils import parsedate_to_datetime
from typing import Literal

from sealwax.egress.errors import DownstreamStatus, OutgoingError
from sealwax.outcomes import Rejected, Transient

__all__ = ["RETRY_AFTER_MAX", "classify", "outcome", "parse_retry_after"]

#: Longest wait in seconds that another system may ask for (6 hours): half of
#: what SQS lets a message be invisible, so that a job is never parked for good.
RETRY_AFTER_MAX = 21_600.0

#: Statuses that say "later" besides 5xx: Request Timeout (RFC 9110 §15.5.9),
#: Too Early (RFC 8470 §5.2), Too Many Requests (RFC 6585 §4).
_LATER = frozenset({408, 425, 429})

_DIGITS = re.compile(r"[0-9]{1,10}")


def classify(status: int) -> Literal["ok", "transient", "permanent"]:
    """Return what an HTTP status means for a delivery."""
    if 200 <= status <= 299:
        return "ok"
    if status in _LATER or 500 <= status <= 599:
        return "transient"
    return "permanent"


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After header asks for, or None.

    Both forms of RFC 9110 §10.2.3 are read; the result is clamped to
    0 … `RETRY_AFTER_MAX`. What is neither form counts as absent.

    Parameters
    ----------
    value
        The header's value.
    now
        Epoch seconds, for the date form.
    """
    text = (value or "").strip()
    if not text or len(text) > 64:
        return None
    if text.isascii() and text.isdigit():
        # More digits than ten are beyond any clamp; int() is not asked.
        seconds = float(text) if _DIGITS.fullmatch(text) else RETRY_AFTER_MAX
    else:
        try:
            moment = parsedate_to_datetime(text)
            if moment.tzinfo is None:  # "-0000": RFC 5322 says nothing of the zone; HTTP is UTC
                moment = moment.replace(tzinfo=dt.UTC)
            seconds = moment.timestamp() - now
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    return min(max(seconds, 0.0), RETRY_AFTER_MAX)


def outcome(error: OutgoingError) -> Rejected | Transient:
    """Return what a task should raise for an outgoing error; raise it `from error`."""
    if not error.transient:
        return Rejected(error.cause)
    wait = error.retry_after if isinstance(error, DownstreamStatus) else None
    return Transient(error.cause, retry_after=wait)
