"""Names in docstrings: what a docstring points to must exist."""

from __future__ import annotations

import ast
import builtins
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
PACKAGES = ("sealwax", "tasks", "api")

#: Words of DynamoDB's and SQS's that look like a class of ours, and a file's name.
FOREIGN = frozenset({
    "GetItem", "MessageAttributes", "MessageBody", "PutItem", "ResponseMetadata", "UpdateItem",
    "sealwax.toml",
})  # fmt: skip

_QUOTED = re.compile(r"`{1,2}~?([A-Za-z_][\w.]*)(?:\([^`]*\))?`{1,2}")
_CAMEL = re.compile(r"(?:[A-Z][a-z0-9]+){2,}|[A-Z][a-z]+[A-Z]{2,}\w*")
_RAISES = re.compile(r"^ *Raises\n *-{3,}\n(.*?)(?=^ *\w+\n *-{3,}\n|\Z)", re.MULTILINE | re.DOTALL)


@cache
def trees() -> list[tuple[str, ast.Module]]:
    return [
        (str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8")))
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "scaffold" not in path.parts
    ]


def room(name: str) -> str:
    """Return a module's folder directly under `sealwax`, or itself where it stands there."""
    first, *rest = Path(name).parts
    return f"{first}/{rest[0]}" if first == "sealwax" and rest else first


@cache
def defined(within: str | None = None) -> set[str]:
    """Return every name that our modules, or those of one room, define or use, and Python's."""
    names = set(dir(builtins))
    for module, tree in trees():
        if within is not None and room(module) != within:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.alias):
                names.add((node.asname or node.name).rpartition(".")[2])
            elif isinstance(node, ast.Name):
                names.add(node.id)
            elif isinstance(node, ast.Attribute):
                names.add(node.attr)
    return names


def docstrings() -> Iterator[tuple[str, str]]:
    for name, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield f"{name}:{getattr(node, 'name', '')}", text


def exists(dotted: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if part in getattr(found, "__annotations__", {}):
                return True
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def raised(text: str) -> Iterator[str]:
    """Yield the names in a docstring's Raises section."""
    block = _RAISES.search(text)
    lines = block[1].splitlines() if block else []
    least = min((len(x) - len(x.lstrip()) for x in lines if x.strip()), default=0)
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) == least:
            yield from (name.strip() for name in line.split(","))


def false_names(text: str, known: set[str], near: set[str]) -> list[str]:
    """Return the names in a docstring that point to nothing.

    An exception in Raises is dotted, or the docstring's room knows it: another
    room's class of that name would be another error.
    """
    wrong = []
    for name in _QUOTED.findall(text):
        first, _, last = name.partition(".")
        if name in FOREIGN:
            continue
        if first in PACKAGES and last:
            if first == "sealwax" and not exists(name):
                wrong.append(name)
        elif _CAMEL.fullmatch(first) and first not in known:
            wrong.append(name)
    false = (name for name in raised(text) if not (exists(name) if "." in name else name in near))
    return wrong + [f"Raises {name}" for name in false]


def test_docstrings_name_what_exists() -> None:
    known = defined()
    found = []
    for where, text in docstrings():
        near = defined(room(where.partition(":")[0]))
        found += [f"{where}: {name}" for name in false_names(text, known, near)]
    assert found == []


def test_false_names_are_found() -> None:
    text = (
        "Call `sealwax.runtime.Runtime` or `sealwax.nothing`, `TaskDefinition` or `NoSuchThing`.\n"
        "\nRaises\n------\nConfigurationError, Neverthing\n    Where it is.\n"
    )
    known = defined()
    assert false_names(text, known, known) == [
        "sealwax.nothing",
        "NoSuchThing",
        "Raises Neverthing",
    ]
    # Another room's exception is not this one's: the archive raises no `Cancelled`.
    text = "Write.\n\nRaises\n------\nCancelled\n    Where conditions did not hold.\n"
    assert "Cancelled" in known
    assert false_names(text, known, defined("sealwax/deadletters")) == ["Raises Cancelled"]
