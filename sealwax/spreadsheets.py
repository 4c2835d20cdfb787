"""CSV that no spreadsheet takes for formulas: the one guard of every export.

Whoever writes what others have typed into a file for a spreadsheet writes it by
`csv_lines`. A cell is text to us and a program to a spreadsheet, which leaves
out what it does not show before it looks at the first character, and in many
countries splits lines at another character than we do.

https://owasp.org/www-community/attacks/CSV_Injection
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["csv_lines", "guard"]

#: What a formula begins with; wide, small, raised and lowered forms count as these.
_SIGNS = ("=", "+", "-", "@")

#: A minus that no normal form makes a hyphen of.
_MINUS = "\u2212"

#: Characters without a sign of their own that are letters or symbols by category.
_BLANK = frozenset('\u115f\u1160\u2800\u3164\uffa0"')

#: Where a spreadsheet may see the end of a cell that we did not end: controls, separators of
#: lines, and those of cells that importers offer. A comma stands in quotes, which all of them
#: respect; spaces are in every sentence, and split nothing unless somebody asks for it.
_ENDS = re.compile(r"[;|\x00-\x1f\x7f-\x9f\u2028\u2029]")

#: The first two bytes of a SYLK file, which Excel tries to read whatever the file is called.
_SYLK = "ID"


def guard(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula, whatever it splits lines at.

    An apostrophe goes before the cell, and before each part of it that follows
    another separator than the comma, where it would be one. Cells that begin
    with a control character get one too.
    """
    parts = []
    start = 0
    for end in _ENDS.finditer(cell):
        parts += [_guard(cell[start : end.start()]), end[0]]
        start = end.end()
    guarded = "".join([*parts, _guard(cell[start:])])
    whole = _is_formula(cell) or unicodedata.category(cell[:1] or "x") == "Cc"
    return f"'{guarded}" if whole and not guarded.startswith("'") else guarded


def _guard(text: str) -> str:
    return f"'{text}" if _is_formula(text) else text


def _is_formula(text: str) -> bool:
    first = _first_shown(text)
    return first == _MINUS or unicodedata.normalize("NFKC", first)[:1] in _SIGNS


def _first_shown(text: str) -> str:
    """Return the first character that a spreadsheet would not strip; empty where there is none."""
    for character in text:
        # Controls, formats, surrogates, unassigned; separators; marks without their letter.
        if unicodedata.category(character)[0] not in "CZM" and character not in _BLANK:
            return character
    return ""


def csv_lines(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """Yield a CSV line by line (RFC 4180, CRLF): the columns' names, then the rows.

    Parameters
    ----------
    rows
        JSON values. Numbers, also those below zero, and booleans are written as
        in JSON, lists and objects as their guarded JSON text; None is empty.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")

    def line(cells: Iterable[str]) -> str:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(cells)
        return buffer.getvalue()

    yield line(_header(columns))
    for row in rows:
        yield line(_cell(value) for value in row)


def _header(columns: Iterable[str]) -> list[str]:
    cells = [guard(name) for name in columns]
    first = cells[0] if cells else ""
    shown = _first_shown(first)
    if shown and first[first.index(shown) :].startswith(_SYLK):
        cells[0] = f"'{first}"
    return cells


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return guard(value)
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return guard(json.dumps(value, ensure_ascii=False))
