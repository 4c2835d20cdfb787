"""The body of a message: decoded, and inflated up to a limit.

Whatever of Celery's compressions Python itself can undo in bounded memory is read.
Pure; raises `Malformed` and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any

from sealwax.transport.codec import Malformed

__all__ = ["COMPRESSIONS", "body_of"]

#: Memory that undoing LZMA may take, in bytes: xz's highest preset needs 65 MiB.
#: https://docs.python.org/3/library/lzma.html#lzma.LZMADecompressor
LZMA_MEMORY = 80 * 1_048_576

_INFLATERS: dict[str, Callable[[], Any]] = {
    # kombu's "gzip" is zlib's format under another name.
    "application/x-gzip": zlib.decompressobj,
    "application/x-bz2": bz2.BZ2Decompressor,
    "application/x-lzma": lambda: lzma.LZMADecompressor(memlimit=LZMA_MEMORY),
}

_ALIASES = {
    "gzip": "application/x-gzip",
    "zlib": "application/x-gzip",
    "bzip2": "application/x-bz2",
    "bzip": "application/x-bz2",
    "lzma": "application/x-lzma",
    "xz": "application/x-lzma",
}

#: Names of the compressions that are read.
COMPRESSIONS = frozenset(_INFLATERS) | frozenset(_ALIASES)


def body_of(payload: dict[str, Any], headers: dict[str, Any], inflated_bytes: int) -> bytes:
    """Return a message's body; take the header `compression` away.

    Raises
    ------
    Malformed
        It cannot be decoded, or is larger than `inflated_bytes`.
    """
    body = payload.get("body")
    if not isinstance(body, str) or not body:
        raise Malformed("body")
    encoding = payload["properties"].get("body_encoding")
    if encoding is None or (isinstance(encoding, str) and encoding.lower() == "utf-8"):
        try:
            data = body.encode("utf-8")
        except UnicodeEncodeError:
            raise Malformed("body-text") from None
    elif encoding == "base64":
        try:
            data = base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            raise Malformed("body-base64") from None
    else:
        raise Malformed("body_encoding")
    return _decompress(data, headers, inflated_bytes)


def _decompress(data: bytes, headers: dict[str, Any], limit: int) -> bytes:
    name = headers.pop("compression", None)
    if not name:
        return data
    # Python's objects take many times the bytes of their JSON, so the limit is
    # what keeps a small message from filling the main process's memory.
    if not isinstance(name, str) or name not in COMPRESSIONS or limit <= 0:
        raise Malformed("compression")
    inflater = _INFLATERS[_ALIASES.get(name, name)]()
    try:
        out: bytes = inflater.decompress(data, limit)
        # The end of a stream may take one more call, which brings nothing.
        more = b"" if inflater.eof else inflater.decompress(_rest(inflater), 1)
    except (zlib.error, OSError, lzma.LZMAError, EOFError, ValueError):
        raise Malformed("compression") from None
    if more or not inflater.eof:
        raise Malformed("compression")
    return out


def _rest(inflater: Any) -> bytes:
    # zlib hands back what it has not read; the others keep it.
    rest: bytes = getattr(inflater, "unconsumed_tail", b"")
    return rest
