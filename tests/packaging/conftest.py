"""The built wheel, and an environment that has it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.aws import REPOSITORY
from support.installing import PIP, make_environment


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # Without isolation: what builds is installed with the tests, and no index is asked.
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run([*PIP, "wheel", *options, str(REPOSITORY)], check=True, timeout=120)
    (found,) = folder.glob("sealwax-*.whl")
    return found


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; dependencies are those of the tests' own."""
    folder = tmp_path_factory.mktemp("environment")
    found = make_environment(folder)
    subprocess.run(
        [*PIP, "--python", str(found), "install", "--no-deps", "--no-index", str(wheel)],
        check=True, timeout=120,
    )  # fmt: skip
    return found
