"""The message on the wire: plain JSON out; JSON or stock kombu's base64 of it in.

Pure. `decode` is the first thing that touches a received body, so it answers
with `Malformed` for anything at all that is not a message; it never raises
another error.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

__all__ = ["MAX_DEPTH", "Malformed", "decode", "depth", "encode", "loads"]

#: Deepest nesting of JSON in a message that is looked at. Python's parser goes one call
#: deeper a level and fails at about 960 of them, the recursion limit of 1,000 less the calls
#: around: as far as stock Celery comes. The one limit of all who read messages: what one of them
#: takes, the others must be able to judge.
MAX_DEPTH = 900


class Malformed(Exception):
    """A received message is not a task message; `kind` says in a word why."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def encode(message: dict[str, Any]) -> str:
    """Return the text to send: ASCII, since SQS refuses some characters."""
    return json.dumps(message, separators=(",", ":"))


def decode(text: str, *, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Return the message of a received body.

    Raises
    ------
    Malformed
        Where it is neither a JSON object nor the base64 of one, or nested
        deeper than `max_depth`.
    """
    stripped = text.strip()
    if not stripped.startswith("{"):
        try:
            stripped = base64.b64decode(stripped, validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            raise Malformed("not-json") from None
    value = loads(stripped, max_depth=max_depth)
    if not isinstance(value, dict):
        raise Malformed("not-an-object")
    return value


def loads(text: str | bytes, *, max_depth: int = MAX_DEPTH, constants: bool = True) -> Any:
    """Parse JSON from a stranger: bounded depth, no huge numbers.

    Parameters
    ----------
    constants
        Whether NaN, Infinity and -Infinity are read, which Python's JSON has beyond the
        standard: Celery's senders write them, and Celery's workers run them.

    Raises
    ------
    Malformed
        With kind `not-json` or `too-deep`.
    """
    decoder = _decoder if constants else _strict_decoder
    try:
        value = decoder.decode(text.decode("utf-8") if isinstance(text, bytes) else text)
    except RecursionError:
        raise Malformed("too-deep") from None
    except ValueError:
        raise Malformed("not-json") from None
    # Counting brackets is quick, and enough for almost every message.
    opening = (
        (text.count(b"[") + text.count(b"{"))
        if isinstance(text, bytes)
        else (text.count("[") + text.count("{"))
    )
    if opening > max_depth and depth(value) > max_depth:
        raise Malformed("too-deep")
    return value


def depth(value: Any) -> int:
    """Return how deep containers are nested; a scalar is 0."""
    deepest = 0
    stack: list[tuple[Any, int]] = [(value, 0)]
    while stack:
        item, level = stack.pop()
        deepest = max(deepest, level)
        if isinstance(item, dict):
            stack.extend((child, level + 1) for child in item.values())
            deepest = max(deepest, level + 1)
        elif isinstance(item, list):
            stack.extend((child, level + 1) for child in item)
            deepest = max(deepest, level + 1)
    return deepest


def _no_constant(name: str) -> Any:
    raise ValueError(name)


_decoder = json.JSONDecoder()
_strict_decoder = json.JSONDecoder(parse_constant=_no_constant)
