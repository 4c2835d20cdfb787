"""A guard on the emulator's time to live: no test may write an item that has expired already.

Ministack deletes what has expired once a minute, by the real clock. A test
whose own clock stands in the past loses its items, once in a while and far from
the cause. A clock of a test begins at `FAR`, or at the real now.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pytest
from botocore.httpsession import URLLib3Session

__all__ = ["FAR", "expired_writes", "watched_for_expired_writes"]

#: Seconds since the epoch, in the year 2096: where a clock of a test may begin.
FAR = 4_000_000_000.0

_ATTRIBUTE = "expires"
_WRITES = {"PutItem", "UpdateItem", "BatchWriteItem", "TransactWriteItems"}


def _number(value: Any) -> float | None:
    text = value.get("N") if isinstance(value, dict) else value
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def expired_writes(operation: str, parameters: Any, now: float) -> list[float]:
    """Return the expiries in a DynamoDB request that do not lie after `now` (epoch seconds)."""
    if operation not in _WRITES:
        return []
    found: list[float] = []
    waiting = [parameters]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
            for name in (_ATTRIBUTE, f":{_ATTRIBUTE}"):
                expiry = _number(part.get(name))
                if expiry is not None and expiry <= now:
                    found.append(expiry)
    return found


@contextmanager
def watched_for_expired_writes(endpoint: str) -> Iterator[list[str]]:
    """Note each request of this process to `endpoint` that writes an expired item.

    By what botocore sends: calls that do not go by boto3's methods are seen too, and who
    looks whether boto3 is wrapped finds that it is not.
    """
    noted: list[str] = []
    original = URLLib3Session.send

    @wraps(original)
    def send(self: Any, request: Any) -> Any:
        target = request.headers.get("X-Amz-Target") or b""
        called = target.decode() if isinstance(target, bytes) else target
        if called.startswith("DynamoDB_") and request.url.startswith(endpoint):
            operation = called.partition(".")[2]
            noted.extend(
                f"{operation} wrote an item that expired at {expiry:.0f}"
                for expiry in expired_writes(operation, json.loads(request.body), time.time())
            )
        return original(self, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(URLLib3Session, "send", send)
        yield noted
