"""The README's "add a task" screen, followed literally."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def blocks() -> dict[str, str]:
    """Return the README's Python blocks by the file name in their first line."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        name = re.match(r"# (\S+\.py)\n", block)
        if name:
            found[name[1]] = block
    return found


def test_the_add_a_task_screen_gives_a_working_task_with_a_passing_test(tmp_path: Path) -> None:
    found = blocks()
    assert sorted(found) == ["tasks/greetings.py", "tests/unit/tasks/test_greetings.py"]
    for package in ("tasks", "sealwax"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name, text in found.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SEALWAX_", "PYTEST"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=tmp_path,
        env=kept | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
