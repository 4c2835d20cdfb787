"""Coverage of changed lines: which lines a diff changes, and which of them are reached."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "tools"))
import changed_coverage  # noqa: E402 - a program, not a package

DIFF = """\
diff --git a/sealwax/a.py b/sealwax/a.py
--- a/sealwax/a.py
+++ b/sealwax/a.py
@@ -3 +3,2 @@ def a():
-    old
+    new
+    more
@@ -9,2 +10,0 @@ def b():
-    gone
-    gone too
diff --git a/sealwax/gone.py b/sealwax/gone.py
--- a/sealwax/gone.py
+++ /dev/null
@@ -1,2 +0,0 @@
-x
-y
diff --git a/sealwax/new.py b/sealwax/new.py
--- /dev/null
+++ b/sealwax/new.py
@@ -0,0 +1 @@
+x
"""


def test_added_and_changed_lines_are_found_and_deleted_ones_are_none() -> None:
    assert changed_coverage.changed_lines(DIFF) == {
        "sealwax/a.py": {3, 4}, "sealwax/new.py": {1},
    }  # fmt: skip


def test_only_lines_of_code_count_and_unmeasured_files_are_left_out() -> None:
    report = {"files": {"sealwax/a.py": {"executed_lines": [1, 3], "missing_lines": [4, 9]}}}
    changed = {"sealwax/a.py": {2, 3, 4}, "tests/test_a.py": {1}}
    assert changed_coverage.rows(report, changed) == [("sealwax/a.py", 2, 1, [4])]
    assert changed_coverage.rows(report, {"sealwax/a.py": {2}}) == []


def test_the_working_tree_is_compared_and_an_unknown_commit_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    Path("a.py").write_text("one\n")
    subprocess.run([*git, "add", "a.py"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "one"], check=True)
    Path("a.py").write_text("one\ntwo\nthree\nfour\nfive\n")
    files = {"a.py": {"executed_lines": [1, 2], "missing_lines": [3, 4, 5]}}
    Path("report.json").write_text(json.dumps({"files": files}))
    assert changed_coverage.main(["report.json", "HEAD"]) == 0
    told = capsys.readouterr().out
    assert "1 of 4 reached" in told
    assert "not 3-5" in told
    assert changed_coverage.main(["report.json", "nowhere"]) == 2
