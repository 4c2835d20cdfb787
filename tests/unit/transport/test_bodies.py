"""Compressed bodies are inflated up to a limit, whatever compressed them."""

from __future__ import annotations

import base64
import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from sealwax.transport.bodies import body_of
from sealwax.transport.codec import Malformed


def read(data: bytes, name: Any, limit: int) -> bytes:
    payload = {
        "body": base64.b64encode(data).decode(),
        "properties": {"body_encoding": "base64"},
    }
    return body_of(payload, {"compression": name}, limit)


@pytest.mark.parametrize(
    ("name", "deflate"),
    [
        ("application/x-gzip", zlib.compress),
        ("zlib", zlib.compress),
        ("application/x-bz2", bz2.compress),
        ("bzip2", bz2.compress),
        ("application/x-lzma", lzma.compress),
        ("xz", lzma.compress),
    ],
)
@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_each_compression_at_its_limit(
    name: str, deflate: Callable[[bytes], bytes], size: int
) -> None:
    text = b"a" * size
    assert read(deflate(text), name, size) == text
    with pytest.raises(Malformed, match="compression"):
        read(deflate(text + b"a"), name, size)
    with pytest.raises(Malformed, match="compression"):
        read(deflate(text)[:-1], name, size + 1)
    with pytest.raises(Malformed, match="compression"):
        read(b"no such thing", name, size)


def test_lzma_takes_no_more_memory_than_its_highest_preset() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 256 * 1_048_576}]
    hungry = lzma.compress(b"a", filters=filters)
    assert lzma.decompress(hungry) == b"a"
    with pytest.raises(Malformed, match="compression"):
        read(hungry, "lzma", 100)
    assert read(lzma.compress(b"a", preset=9), "lzma", 100) == b"a"
