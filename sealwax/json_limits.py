"""What JSON text would become, counted before an object exists.

A megabyte of `{},` is 25 times that as Python's objects, and 34 of them ended an
API process. Whoever parses a stranger's text counts it first: the API a body,
the worker what it has opened. A few passes of C over the bytes, no parser.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["JsonLimit", "JsonLimits", "check_json"]


class JsonLimits(Protocol):
    """The settings that bound a text; `sealwax.settings.Limits` is one."""

    json_values: int
    json_keys: int
    json_depth: int


class JsonLimit(ValueError):
    """The text has more values, keys or levels than are accepted.

    Parameters
    ----------
    kind
        `values`, `keys` or `depth`.
    limit
        How many are accepted.
    """

    def __init__(self, kind: str, limit: int) -> None:
        self.kind = kind
        self.limit = limit
        super().__init__(f"more than {limit} {kind}")


#: Whitespace, structure and strings become blanks, all else the letters of a scalar.
_SCALARS = bytes(32 if byte in b' \t\r\n[]{}:,"' else 120 for byte in range(256))

#: Brackets alone, of one kind.
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def check_json(text: bytes, limits: JsonLimits) -> None:
    """Count; text that is no JSON is left to the parser, which then makes no more than is counted.

    Raises
    ------
    JsonLimit
        Names the limit.
    """
    if b"\\" in text:
        # Without escapes, quotes alternate: they open and close strings.
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    if text.count(b'"') > 2 * (limits.json_values + limits.json_keys):
        raise JsonLimit("values", limits.json_values)
    bare = b'"'.join(text.split(b'"')[::2])
    strings, keys = bare.count(b'"'), bare.count(b":")
    if keys > limits.json_keys:
        raise JsonLimit("keys", limits.json_keys)
    scalars = (b" " + bare.translate(_SCALARS)).count(b" x")
    values = bare.count(b"[") + bare.count(b"{") + scalars + max(0, strings - keys)
    if values > limits.json_values:
        raise JsonLimit("values", limits.json_values)
    brackets = bare.translate(_BRACKETS, _NO_BRACKETS)
    # The parser stops at the first one that closes too much: what is behind it makes nothing.
    brackets = brackets[: 2 * brackets.count(b"[") + 1]
    # Each pass takes the innermost pairs away.
    for _ in range(limits.json_depth):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"")
    if b"[]" in brackets or brackets.count(b"[") > limits.json_depth:
        raise JsonLimit("depth", limits.json_depth)
