"""Environments with the built wheel, made without an index."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

__all__ = ["PIP", "make_environment", "run"]

PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]


def make_environment(folder: Path) -> Path:
    """Make an environment whose dependencies are those of the tests' own; return its Python."""
    venv.create(folder, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    # A plain folder on the path: its own `.pth` files, an editable sealwax's too, are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "SEALWAX_", "PYTHON"))
    }
    return subprocess.run(
        command, cwd=folder, env=kept | variables, capture_output=True, text=True, timeout=300
    )
