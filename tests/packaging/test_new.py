"""What `sealwax new` writes, as its reader uses it: `make test`, `make run`."""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import pytest
from support.aws import emulator_environment
from support.installing import make_environment, run

FREE_PORTS = "--port 0 --emulator-port 0 --sandbox-port 0"


@pytest.fixture
def new(python: Path, tmp_path: Path) -> Path:
    """A new project, with an environment that its Makefile installs into."""
    done = run([str(python.with_name("sealwax")), "new", "orders"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "make run" in done.stdout
    # Dependencies are found beside it and need no index; what the project requires is not.
    make_environment(tmp_path / "orders" / ".venv")
    return tmp_path / "orders"


def make(folder: Path, *arguments: str) -> str:
    done = run(
        ["make", *arguments], folder, PIP_NO_INDEX="1",
        SEALWAX_EMULATOR_ENV=str(emulator_environment()),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.long
def test_its_tests_pass_at_once(new: Path) -> None:
    assert re.search(r"\b2 passed\b", make(new, "test"))
    base = str(new / ".venv")
    site = Path(sysconfig.get_path("purelib", vars={"base": base, "platbase": base}))
    # Its own requirements have brought it, not what lies beside.
    assert (site / "sealwax" / "py.typed").is_file()


@pytest.mark.long
def test_it_runs_at_once_with_its_demo_job(new: Path) -> None:
    output = make(new, "run", f"ARGS=--once {FREE_PORTS}")
    assert f"configuration: {new / 'sealwax.toml'}" in output
    assert re.search(r"job [0-9a-f]{32} succeeded", output)


@pytest.mark.long
def test_it_runs_from_another_folder(python: Path, new: Path, tmp_path: Path) -> None:
    command = [str(python.with_name("sealwax")), "--app-dir", str(new), "dev", "--once"]
    done = run(
        [*command, *FREE_PORTS.split()], tmp_path, SEALWAX_CONFIG=str(new / "sealwax.toml"),
        SEALWAX_EMULATOR_ENV=str(emulator_environment()),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"job [0-9a-f]{32} succeeded", done.stdout)


@pytest.mark.long
def test_its_tasks_are_strictly_typed_by_what_is_installed(python: Path, new: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python)]
    done = run([*command, "tasks"], new)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_folder_that_holds_files_is_refused_and_left_alone(python: Path, tmp_path: Path) -> None:
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "notes.txt").write_text("mine")
    done = run([str(python.with_name("sealwax")), "new", "orders"], tmp_path)
    assert done.returncode == 1
    assert "not empty" in done.stderr
    assert [path.name for path in (tmp_path / "orders").iterdir()] == ["notes.txt"]


def test_a_name_that_cannot_name_a_project_is_refused(python: Path, tmp_path: Path) -> None:
    done = run([str(python.with_name("sealwax")), "new", "My Orders"], tmp_path)
    assert done.returncode == 1
    assert "lower-case" in done.stderr
    assert list(tmp_path.iterdir()) == []
