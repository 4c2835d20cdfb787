"""Imports that no tool sees: modules named by text."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]

#: Where a module's name is data: the command table, task modules and the application named
#: by settings, and the lazy public names.
ALLOWED = {
    "sealwax/__init__.py",
    "sealwax/cli/__init__.py",
    "sealwax/task_definition.py",
    "sealwax/web/serve.py",
}


def test_no_import_is_spelled_as_text() -> None:
    """The contracts would not see `import_module("api")`."""
    found: list[str] = []
    for path in sorted((ROOT / "sealwax").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            word = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if word in ("import_module", "__import__") and name not in ALLOWED:
                found.append(f"{name}:{node.lineno}")
    assert found == []


def test_names_that_are_text_stay_within_the_product() -> None:
    from sealwax import _HOMES
    from sealwax.cli import cli

    assert all(module.startswith("sealwax.cli.") for module in cli.modules.values())  # type: ignore[attr-defined]
    assert all((ROOT / "sealwax" / f"{home}.py").is_file() or
               (ROOT / "sealwax" / home).is_dir() for home in _HOMES.values())  # fmt: skip
