from __future__ import annotations

from pathlib import Path
from typing import cast

from sealwax.local import dev, ports
from sealwax.local.dev import DevOptions, Stack
from sealwax.local.supervisor import Stop, Supervisor


def stack(monkeypatch, folder: Path, app_dir: Path | None) -> Stack:
    monkeypatch.setattr(ports, "is_free", lambda _: True)
    options = DevOptions(state=folder, app_dir=app_dir)
    return Stack(options, cast("Supervisor", None), stop=Stop(), say=lambda _: None)


def test_the_roles_look_for_tasks_where_the_command_was_told_to(tmp_path, monkeypatch):
    for program in stack(monkeypatch, tmp_path, tmp_path / "shop").roles():
        assert program.command[1:5] == ["-m", "sealwax", "--app-dir", str(tmp_path / "shop")]
        assert program.command[5] == program.name


def test_the_roles_look_in_their_folder_where_nothing_was_told(tmp_path, monkeypatch):
    commands = {
        program.name: program.command for program in stack(monkeypatch, tmp_path, None).roles()
    }
    assert commands["worker"][1:] == ["-m", "sealwax", "worker"]
    api = ["api", "--port", str(dev.API_PORT), "--health-port", "0"]
    assert commands["api"][1:] == ["-m", "sealwax", *api]
