"""What the sandbox received: one JSON line a delivery, on disk before it is answered.

In memory stand only an offset, a path and a key for each, so that tens of
thousands of deliveries fit. A restart reads them back.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["Deliveries"]


class Deliveries:
    """An append-only file of deliveries, safe for threads.

    Parameters
    ----------
    path
        The JSON Lines file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._index: list[tuple[int, str, str | None, bool]] = []
        self._file = path.open("a+b")
        self._load()

    def _load(self) -> None:
        self._file.seek(0)
        end = 0
        for line in self._file:
            try:
                record = json.loads(line)
            except ValueError:
                break  # the last line of a process that was killed
            self._remember(end, record)
            end += len(line)
        self._file.truncate(end)

    def _remember(self, offset: int, record: dict[str, Any]) -> None:
        key = record.get("idempotency_key")
        self._index.append((offset, record["path"], key, record.get("answered") == "ok"))

    def add(self, record: dict[str, Any]) -> int:
        """Write a delivery; return its number, from 1."""
        with self._lock:
            number = len(self._index) + 1
            line = json.dumps({"n": number, **record}, ensure_ascii=True).encode() + b"\n"
            offset = self._file.seek(0, 2)
            self._file.write(line)
            self._file.flush()
            self._remember(offset, record)
            return number

    def read(
        self, *, path: str | None = None, limit: int = 100, after: int = 0
    ) -> Iterator[dict[str, Any]]:
        """Yield deliveries numbered above `after` whose path begins with `path`."""
        with self._lock:
            chosen = [
                offset
                for offset, where, _, _ in self._index[max(after, 0) :]
                if path is None or where.startswith(path)
            ][: max(limit, 0)]
        with self._path.open("rb") as file:
            for offset in chosen:
                file.seek(offset)
                yield json.loads(file.readline())

    def count(self, path: str | None = None) -> dict[str, int]:
        """Return how many deliveries came, were answered with success, and under how many keys."""
        with self._lock:
            rows = [row for row in self._index if path is None or row[1].startswith(path)]
        return {
            "received": len(rows),
            "succeeded": sum(row[3] for row in rows),
            "keys": len({row[2] for row in rows if row[2] is not None}),
            "keys_succeeded": len({row[2] for row in rows if row[2] is not None and row[3]}),
        }

    def keys(self, path: str | None = None) -> dict[str, int]:
        """Return how many successful deliveries each idempotency key had."""
        with self._lock:
            return dict(
                Counter(
                    key
                    for _, where, key, ok in self._index
                    if key is not None and ok and (path is None or where.startswith(path))
                )
            )

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._index.clear()
            self._file.truncate(0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
