"""Lists read page by page, and bodies saved byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sealwax.cli.paging import read_pages, save_body
from sealwax.client import ApiClient


class Pages(ApiClient):
    """Answers with so many rows, a page at a time."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def ops(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        assert method == "GET"
        given = arguments["params"]
        self.asked.append((path, given))
        begin = int(given.get("after", 0))
        end = min(self.rows, begin + given["limit"])
        after = str(end) if end < self.rows else None
        return {path: [{"id": number} for number in range(begin, end)], "after": after}


@pytest.mark.parametrize(
    ("rows", "limit", "pages"),
    [(0, 50, [50]), (30, 50, [50]), (250, 250, [100, 100, 50]), (250, 120, [100, 20])],
)
def test_pages_are_read_up_to_the_limit_and_no_further(
    rows: int, limit: int, pages: list[int]
) -> None:
    client = Pages(rows)
    found = read_pages(client, "strays", {"queue": "q"}, limit=limit)
    assert [row["id"] for row in found] == list(range(min(rows, limit)))
    assert [given["limit"] for _, given in client.asked] == pages
    assert {(path, given["queue"]) for path, given in client.asked} == {("strays", "q")}


def test_a_body_goes_into_a_file_or_to_stdout_byte_for_byte(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    save_body(b"\x00\xff", tmp_path / "body")
    assert (tmp_path / "body").read_bytes() == b"\x00\xff"
    assert capfdbinary.readouterr().out == b""
    save_body(b"\x00\xff", None)
    assert capfdbinary.readouterr().out == b"\x00\xff"
