"""docs/reference/counters.md lists the counters that the code raises, and no others."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "counters.md"


def raised(source: str) -> Iterator[str]:
    """Yield the names that a module adds to; a part that is filled in becomes `<>`."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        holder = ast.unparse(node.func.value)
        if node.func.attr != "add" or not holder.endswith("counters") or not node.args:
            continue
        name = node.args[0]
        if isinstance(name, ast.Constant):
            yield str(name.value)
        elif isinstance(name, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "<>" for part in name.values
            )
        else:
            yield f"a name that is not written out: {ast.unparse(name)}"


def used() -> set[str]:
    return {
        name
        for path in (ROOT / "sealwax").rglob("*.py")
        for name in raised(path.read_text(encoding="utf-8"))
    }


def documented() -> set[str]:
    rows = re.findall(r"^\| `([^`]+)` \| \S", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"<[^>]+>", "<>", row) for row in rows}


def test_the_page_and_the_code_name_the_same_counters() -> None:
    assert used() == documented()


def test_names_are_found_in_code() -> None:
    source = (
        'self.counters.add("a.b")\n_counters.add(f"c.{kind}.d", 2)\nseen.add("no")\n'
        "counters.add(name)\n"
    )
    assert list(raised(source)) == ["a.b", "c.<>.d", "a name that is not written out: name"]


def test_the_console_reads_only_counters_that_exist() -> None:
    """`sealwax.control.throughput` reads counters by name: a renamed one would read as 0."""
    source = (ROOT / "sealwax/control/throughput.py").read_text(encoding="utf-8")
    names = set(re.findall(r'(?:counters\.get|startswith)\("([^"]+)"', source))
    assert len(names) >= 5
    assert {name + "<>" if name.endswith(".") else name for name in names} <= used()
