"""Pages: links lead somewhere, and modules and files that a page names exist."""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / ".github").rglob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
ADRS = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
#: Files that a reader makes, as pages tell them to.
MADE = {"tasks/greetings.py", "tests/unit/tasks/test_greetings.py"}
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_MODULE = re.compile(r"sealwax(\.[A-Za-z_]\w*)+")
_PATH = re.compile(r"(?:sealwax|tests|docs|tools|ecs|tasks|bench|\.ci|\.github)/[\w./-]*")
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def slug(heading: str) -> str:
    """Return a heading's anchor as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def broken_links(page: Path, text: str) -> list[str]:
    """Return the relative links of a page that lead nowhere."""
    found = []
    for link in _LINK.findall(_FENCED.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        there = target.exists()
        if there and anchor:
            there = anchor in anchors(text if target == page else target.read_text("utf-8"))
        if not there:
            found.append(link)
    return found


@cache
def exists(dotted: str) -> bool:
    """Whether a dotted name is a module of ours, or something in one."""
    module, _, name = dotted.rpartition(".")
    try:
        importlib.import_module(dotted)
    except ModuleNotFoundError:
        return bool(module) and hasattr(importlib.import_module(module), name)
    return True


def false_names(text: str) -> list[str]:
    """Return modules and files that a page names in code and that do not exist."""
    found = []
    for code in _CODE.findall(_FENCED.sub("", text)):
        name = code.removesuffix("()")
        if _MODULE.fullmatch(name) and name != "sealwax.toml" and not _there(name):
            found.append(code)
        if _PATH.fullmatch(code) and code not in MADE and not (ROOT / code).exists():
            found.append(code)
    return found


def _there(name: str) -> bool:
    try:
        return exists(name)
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_leads_and_names_well(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert broken_links(page, text) == []
    assert false_names(text) == []


def test_false_links_and_names_are_found() -> None:
    page = ROOT / "docs/architecture.md"
    text = "# One\n[a](nowhere.md) [b](glossary.md#no-such) [c](#one) [d](#two) [e](glossary.md)\n"
    assert broken_links(page, text) == ["nowhere.md", "glossary.md#no-such", "#two"]
    text = "`sealwax.letters` `sealwax.ledger` `sealwax.retry.RetryPolicy` `sealwax/gone.py`"
    assert false_names(text) == ["sealwax.letters", "sealwax/gone.py"]


def test_every_room_and_public_module_is_in_the_architecture() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rooms = {
        path.stem
        for path in (ROOT / "sealwax").iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").is_file()) and path.stem[0] != "_"
    }
    missing = {room for room in rooms if not re.search(rf"^\|.*`sealwax\.{room}`", text, re.M)}
    assert missing == set()


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs/README.md"
    text = index.read_text(encoding="utf-8")
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in _LINK.findall(text)}
    pages = {page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "adr"}
    assert pages - linked == {index}


@pytest.mark.parametrize("page", ADRS, ids=lambda page: page.name)
def test_a_decision_has_its_parts_and_its_line(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    number = int(page.name[:4])
    assert text.startswith(f"# {number}. ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
        "Context", "Decision", "Alternatives", "Consequences",
    ]  # fmt: skip
    dated = re.search(r"^Date: (\d{4}-\d\d-\d\d)\. Status: (\w+)", text, re.MULTILINE)
    assert dated
    title = text.partition("\n")[0].partition(". ")[2]
    line = f"| [{number}]({page.name}) | {title} | {dated[1]} | {dated[2]} |"
    assert line in (ROOT / "docs/adr/README.md").read_text(encoding="utf-8")


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(page.name[:4]) for page in ADRS] == list(range(1, len(ADRS) + 1))
    assert ADRS


def test_each_row_of_the_glossary_has_a_meaning_and_every_column() -> None:
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) > 30
    assert {line.count(" | ") for line in rows} == {6}
    assert all(cell.strip() for line in rows for cell in line.strip("|").split("|"))
