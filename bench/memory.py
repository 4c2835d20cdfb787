"""What JSON costs in memory, by shape: counted and refused, or counted and parsed.

    python bench/memory.py

Each shape once as large as the default limits allow, and once of 34 MB. `tracemalloc`
sees each allocation: peak bytes of counting and parsing, as the API does both.
Prints a table and a line of JSON.
"""

from __future__ import annotations

import json
import time
import tracemalloc

from sealwax.json_limits import JsonLimit, check_json
from sealwax.settings import Limits
from sealwax.web.body import STRICT

LIMITS = Limits.model_validate({})
LARGE = 34_000_000


def items(piece: bytes, count: int) -> bytes:
    return b"[" + b",".join([piece] * count) + b"]"


def members(count: int) -> bytes:
    return b"{" + b",".join(b'"%d":0' % number for number in range(count)) + b"}"


#: Text at the limit that holds for the shape, and of 34 MB.
SHAPES = {
    "empty objects": (items(b"{}", LIMITS.json_values - 1), items(b"{}", LARGE // 3)),
    "objects of one": (
        items(b'{"a":0}', LIMITS.json_values // 2 - 1), items(b'{"a":0}', LARGE // 8),
    ),
    "nested lists": (
        items(b"[" * 63 + b"]" * 63, LIMITS.json_values // 63 - 1),
        items(b"[" * 63 + b"]" * 63, LARGE // 127),
    ),
    "keys": (members(LIMITS.json_keys), members(LARGE // 11)),
    "one string": (b'"' + b"x" * 1_048_574 + b'"', b'"' + b"x" * (LARGE - 2) + b'"'),
    "wide string": (
        ("\U0001f600" + "x" * 1_048_570).encode().join([b'"', b'"']),
        ("\U0001f600" + "x" * (LARGE - 6)).encode().join([b'"', b'"']),
    ),
    "numbers": (items(b"12345678", LIMITS.json_values - 1), items(b"1", LARGE // 2)),
}  # fmt: skip


def cost(text: bytes) -> tuple[float, float, str]:
    """Return peak MiB, milliseconds, and what became of it."""
    began = time.perf_counter()
    try:
        check_json(text, LIMITS)
        STRICT.decode(text.decode())
    except JsonLimit:
        pass
    took = (time.perf_counter() - began) * 1_000
    tracemalloc.start()
    try:
        check_json(text, LIMITS)
        STRICT.decode(text.decode())
        outcome = "parsed"
    except JsonLimit as found:
        outcome = f"refused: {found.kind}"
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return round(peak, 1), round(took, 1), outcome


def main() -> None:
    rows = {}
    print(f"{'shape':<16} {'MB':>6} {'peak MiB':>9} {'ms':>8}  outcome")
    for shape, texts in SHAPES.items():
        for text in texts:
            peak, took, outcome = cost(text)
            size = round(len(text) / 1e6, 2)
            rows[f"{shape} {size}"] = {"mib": peak, "ms": took, "outcome": outcome}
            print(f"{shape:<16} {size:>6} {peak:>9} {took:>8}  {outcome}")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
