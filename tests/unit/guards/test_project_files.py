"""Workflows, forms and hooks are well-formed, and name what exists."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "tools"))
import release_check  # noqa: E402 - a program, not a package

FILES = [
    ROOT / ".pre-commit-config.yaml",
    *sorted((ROOT / ".github").rglob("*.yml")),
]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
#: Where packages come from is everybody's own choice.
HOSTS = re.compile(r"https?://|\bindex-url|\b(?:pypi|npmjs|pythonhosted)\.(?:org|com)\b")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(workflow: Any) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", [])


def test_there_are_files() -> None:
    assert {path.name for path in FILES} >= {
        ".pre-commit-config.yaml", "bug.yml", "ci.yml", "dependabot.yml", "feature.yml",
        "release.yml",
    }  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_yaml_that_names_no_host(path: Path) -> None:
    assert isinstance(read(path), dict)
    assert not HOSTS.search(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_little_and_ends(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "uses" in job or job["timeout-minutes"] <= 90
        for needed in [job["needs"]] if "needs" in job else []:
            assert needed in workflow["jobs"]
        if str(job.get("uses", "")).startswith("./"):
            assert (ROOT / job["uses"]).is_file()
    for step in steps(workflow):
        # What a stranger writes into a branch's name or a title must not become a command.
        assert "${{" not in step.get("run", "")
        assert "@" in step.get("uses", "@")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_files_that_a_workflow_runs_are_there(path: Path) -> None:
    commands = " ".join(step.get("run", "") for step in steps(read(path)))
    for name in re.findall(r"(?<=\s)((?:\.ci|tools|docker)/[\w./-]+)", commands):
        assert (ROOT / name).is_file(), name
    assert re.search(r"\.ci/run|tools/", commands)


def test_hooks_run_the_projects_own_tools() -> None:
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    packages = {"ruff": "ruff", "mypy": "mypy", "lint-imports": "import-linter"}
    for repo in read(ROOT / ".pre-commit-config.yaml")["repos"]:
        assert repo["repo"] == "local"
        for hook in repo["hooks"]:
            program = hook["entry"].split()[0]
            assert program.startswith(".venv/bin/")
            name = program.removeprefix(".venv/bin/")
            assert name == "python" or f'"{packages[name]}>=' in declared
            if name == "python":
                assert (ROOT / hook["entry"].split()[1]).is_file()


@pytest.mark.parametrize("name", ["bug.yml", "feature.yml"])
def test_a_form_has_what_a_form_needs(name: str) -> None:
    form = read(ROOT / ".github/ISSUE_TEMPLATE" / name)
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert all(field["attributes"]["label"] for field in fields)
    assert len({field["id"] for field in fields}) == len(fields)


PYPROJECT = '[project]\nversion = "1.2.3"\n'
CHANGELOG = "# Changelog\n\n## Unreleased\n\n## 1.2.3 - 2026-01-31\n"


@pytest.mark.parametrize(
    ("tag", "changelog", "count"),
    [
        ("v1.2.3", CHANGELOG, 0),
        ("1.2.3", CHANGELOG, 1),
        ("v1.2.4", CHANGELOG, 1),
        ("v1.2.3", "## Unreleased\n", 1),
        ("v1.2.4", "## 1.2.4 - 2026-01-31\n", 2),
        ("v1.2.3", "## 1.2.3\n", 1),
        ("v1.2.3", "## 1x2.3 - 2026-01-31\n", 1),
    ],
)
def test_a_tag_its_version_and_the_changelog_belong_together(
    tag: str, changelog: str, count: int
) -> None:
    assert len(release_check.problems(tag, PYPROJECT, changelog)) == count


def test_the_release_check_fails_for_a_tag_that_is_none() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/release_check.py"), "v0.0.0"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "v0.0.0" in done.stdout
