"""JSON counted before it is parsed: each limit at its edge, for each shape."""

from __future__ import annotations

import json
import sys
import tracemalloc
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.json_limits import JsonLimit, check_json


@dataclass
class Few:
    json_values: int = 100
    json_keys: int = 10
    json_depth: int = 5


def count(value: Any) -> tuple[int, int, int]:
    """Return values, keys and depth of what was parsed."""
    if isinstance(value, dict):
        inner, keys = [count(item) for item in value.values()], len(value)
    elif isinstance(value, list):
        inner, keys = [count(item) for item in value], 0
    else:
        return 1, 0, 0
    return (
        1 + sum(item[0] for item in inner),
        keys + sum(item[1] for item in inner),
        1 + max((item[2] for item in inner), default=0),
    )


def found(text: bytes, limits: Any = None) -> str | None:
    try:
        check_json(text, limits or Few())
    except JsonLimit as error:
        return error.kind
    return None


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


EDGES = {
    "empty objects": (b"[" + b",".join([b"{}"] * 99) + b"]", "values"),
    "empty lists": (b"[" + b",".join([b"[]"] * 99) + b"]", "values"),
    "numbers": (b"[" + b",".join([b"1"] * 99) + b"]", "values"),
    "literals": (b"[ " + b" , ".join([b"null"] * 99) + b" ]", "values"),
    "strings": (b"[" + b",".join([rb'"\\\""'] * 99) + b"]", "values"),
    "keys": (json.dumps({str(n): [] for n in range(10)}).encode(), "keys"),
    "levels": (nested(5), "depth"),
}
OVER = {
    "empty objects": b"[" + b",".join([b"{}"] * 100) + b"]",
    "empty lists": b"[" + b",".join([b"[]"] * 100) + b"]",
    "numbers": b"[" + b",".join([b"1"] * 100) + b"]",
    "literals": b"[ " + b" , ".join([b"null"] * 100) + b" ]",
    "strings": b"[" + b",".join([rb'"\\\""'] * 100) + b"]",
    "keys": json.dumps({str(n): [] for n in range(11)}).encode(),
    "levels": nested(6),
}


@pytest.mark.parametrize("shape", EDGES)
def test_each_limit_holds_at_its_edge(shape: str) -> None:
    text, kind = EDGES[shape]
    json.loads(text)
    assert found(text) is None
    assert found(OVER[shape]) == kind


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 6,
        b"[" * 90,
        b'{"a":' * 6,
        b"[" * 6 + b"}" * 6,
        b"[[" * 50 + b"]",
        nested(6) + b"]" * 90,
    ],
)
def test_what_is_no_json_is_not_nested_without_bound_either(text: bytes) -> None:
    assert found(text) == "depth"


def test_structure_within_strings_counts_nothing() -> None:
    text = json.dumps(["{[:,]}" * 100, '\\"[{' * 50, "\\", "\\\\"]).encode()
    assert found(text) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(JSON, st.booleans(), st.sampled_from([None, 2]))
def test_it_counts_what_the_parser_makes(value: Any, plain: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=plain, indent=indent).encode(errors="surrogatepass")
    values, keys, levels = count(value)
    limits = Few(values, keys, levels)
    assert found(text, limits) is None
    assert found(text, Few(values - 1, keys, levels)) == "values"
    if keys:
        assert found(text, Few(values, keys - 1, levels)) in ("keys", "values")
    if levels:
        assert found(text, Few(values, keys, levels - 1)) == "depth"


def test_counting_costs_a_few_times_the_text_whatever_it_holds() -> None:
    for piece in (b"{},", b"[],", b"1,", b'"",', rb'"\n",', b"[", b'"', b"\\", b'{"a":'):
        text = b"[" + piece * (1_000_000 // len(piece))
        tracemalloc.start()
        found(text, Few(100_000, 50_000, 64))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 16 * len(text), piece


def passed_over(text: bytes) -> int:
    """Return how many bytes the methods of bytes were called on while `text` was counted."""
    total = 0

    def called(_: Any, event: str, function: Any) -> None:
        nonlocal total
        owner = getattr(function, "__self__", None)
        if event == "c_call" and isinstance(owner, bytes):
            total += len(owner)

    sys.setprofile(called)
    try:
        found(text, Few(100_000, 50_000, 64))
    finally:
        sys.setprofile(None)
    return total


@pytest.mark.parametrize("opened", [b"", b"[" * 64, b"[]," * 64])
@pytest.mark.parametrize("closing", [b"]", b"}", b" ]"])
def test_brackets_that_close_nothing_are_not_gone_through_level_by_level(
    opened: bytes, closing: bytes
) -> None:
    text = opened + closing * 500_000
    assert 0 < passed_over(text) < 20 * len(text)
