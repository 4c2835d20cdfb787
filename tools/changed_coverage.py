"""Coverage of the lines that were changed: which of them no test reaches.

`python tools/changed_coverage.py REPORT.json SINCE` reads the report of
`coverage json` and `git diff SINCE`, working tree included, and prints each
file's share with the lines that are missing. Only lines that coverage counts
as code are counted. Exit code 0; 2 where git does not know SINCE.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["changed_lines", "main", "rows"]

_FILE = re.compile(r"^\+\+\+ (?:b/)?(.+?)\t?$")
_HUNK = re.compile(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@")


def changed_lines(diff: str) -> dict[str, set[int]]:
    """Return the numbers of added and changed lines by file, from a diff without context."""
    found: dict[str, set[int]] = {}
    path = ""
    for line in diff.splitlines():
        if name := _FILE.match(line):
            path = name[1]
        elif (hunk := _HUNK.match(line)) and path != "/dev/null":
            start, count = int(hunk[1]), int(hunk[2] or 1)
            found.setdefault(path, set()).update(range(start, start + count))
    return {path: lines for path, lines in found.items() if lines}


def rows(
    report: dict[str, Any], changed: dict[str, set[int]]
) -> list[tuple[str, int, int, list[int]]]:
    """Return file, lines of code that were changed, how many are reached, and the others."""
    found = []
    for path, lines in sorted(changed.items()):
        measured = report["files"].get(path)
        if measured is None:
            continue
        reached = lines & set(measured["executed_lines"])
        missing = sorted(lines & set(measured["missing_lines"]))
        if reached or missing:
            found.append((path, len(reached) + len(missing), len(reached), missing))
    return found


def _spans(numbers: list[int]) -> str:
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(f"{low}" if low == high else f"{low}-{high}" for low, high in spans)


def main(arguments: list[str]) -> int:
    """Print the table; return the exit code."""
    report, since = arguments
    done = subprocess.run(
        ["git", "diff", "--unified=0", "--no-color", "--no-ext-diff", since, "--", "*.py"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        print(f"git does not know {since}: no coverage of changed lines", file=sys.stderr)
        return 2
    found = rows(json.loads(Path(report).read_text(encoding="utf-8")), changed_lines(done.stdout))
    code, reached = sum(row[1] for row in found), sum(row[2] for row in found)
    print(f"lines changed since {since}: {reached} of {code} reached by a test")
    for path, of, yes, missing in found:
        print(f"  {yes:5} of {of:5}  {path}" + (f"  not {_spans(missing)}" if missing else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
