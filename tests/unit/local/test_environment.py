from __future__ import annotations

import builtins
import re
import subprocess
from pathlib import Path

import pytest

from sealwax.local import environment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "emulator"


def fake_venv(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(target: Path, **_: object) -> None:
        (target / "bin").mkdir(parents=True)
        python = target / "bin/python"
        python.write_text("#!/bin/sh\n")
        python.chmod(0o755)

    monkeypatch.setattr(environment.venv, "create", create)


def fake_pip(monkeypatch: pytest.MonkeyPatch, code: int, stderr: str = "") -> list[list[str]]:
    calls: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        return subprocess.CompletedProcess(command, code, "", stderr)

    monkeypatch.setattr(environment.subprocess, "run", run)
    return calls


def test_a_complete_environment_is_made_once(monkeypatch, folder):
    fake_venv(monkeypatch)
    calls = fake_pip(monkeypatch, 0)

    first = environment.ensure_environment(folder)
    second = environment.ensure_environment(folder)

    assert first == second == folder / "bin/python"
    assert len(calls) == 1
    assert "--require-hashes" in calls[0]


def test_a_half_made_environment_is_made_again(monkeypatch, folder):
    fake_venv(monkeypatch)
    calls = fake_pip(monkeypatch, 0)
    (folder / "bin").mkdir(parents=True)
    folder.with_name("emulator.unfinished").mkdir()

    environment.ensure_environment(folder)

    assert environment.is_complete(folder)
    assert len(calls) == 1
    assert not folder.with_name("emulator.unfinished").exists()


def test_another_lock_makes_another_environment(monkeypatch, folder, tmp_path):
    fake_venv(monkeypatch)
    calls = fake_pip(monkeypatch, 0)
    environment.ensure_environment(folder)
    lock = tmp_path / "emulator.txt"
    lock.write_text("other")
    monkeypatch.setattr(environment, "lock_file", lambda: lock)

    environment.ensure_environment(folder)

    assert len(calls) == 2


def test_no_network_is_named_and_leaves_nothing_half_made(monkeypatch, folder):
    fake_venv(monkeypatch)
    fake_pip(monkeypatch, 1, "NewConnectionError: Failed to establish a new connection")

    with pytest.raises(environment.PackagesUnavailable, match=r"ministack.*network"):
        environment.ensure_environment(folder)

    assert not folder.exists()
    assert not folder.with_name("emulator.unfinished").exists()


def test_other_failures_of_pip_are_told_with_its_last_lines(monkeypatch, folder):
    fake_venv(monkeypatch)
    fake_pip(monkeypatch, 1, "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES")

    with pytest.raises(environment.EnvironmentIncomplete, match="DO NOT MATCH"):
        environment.ensure_environment(folder)


def test_a_python_without_venv_names_the_package(monkeypatch, folder):
    real = builtins.__import__

    def refuse(name: str, *args: object, **kwargs: object) -> object:
        if name == "ensurepip":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(environment.VenvMissing, match="python3-venv"):
        environment.ensure_environment(folder)


def test_an_old_python_is_named(monkeypatch, folder):
    monkeypatch.setattr(environment.sys, "version_info", (3, 10, 12))
    with pytest.raises(environment.PythonTooOld, match=r"3\.11"):
        environment.ensure_environment(folder)


ROOT = Path(__file__).parent.parent.parent.parent
LOCKS = [*sorted((ROOT / "requirements").glob("*.txt")), environment.lock_file()]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_locks_name_versions_and_hashes_and_no_place(lock):
    text = lock.read_text()
    assert "--hash=sha256:" in text
    assert not re.search(r"://|^-|file:|\bpycurl\b", text, re.MULTILINE)
