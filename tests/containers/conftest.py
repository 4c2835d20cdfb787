"""The compose file, built and up once for all container tests."""

from __future__ import annotations

import re
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from support.containers import BASE, IMAGE, LOCAL, SERVICES, Engine, Up
from support.waiting import wait_for

from sealwax.local.ports import free_port


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Figures, printed at the end however output is captured."""
    figures: dict[str, str] = {}
    yield figures
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print()
        for name, value in figures.items():
            print(f"  {name:<36} {value}")


@pytest.fixture(scope="session")
def engine(prepared: None, report: dict[str, str]) -> Iterator[Engine]:
    """Base image and both targets, built."""
    # Not below pytest's folder: socket paths have a limit of about 100 bytes.
    folder = Path(tempfile.mkdtemp(prefix="swc-"))
    made = Engine(folder, f"sw{secrets.token_hex(3)}")
    try:
        for name, work in (
            ("base image", lambda: made.import_base(BASE)),
            ("build of the production image", lambda: _build(made, "runtime", IMAGE)),
            ("build of the local image", lambda: _build(made, "local", LOCAL)),
        ):
            began = time.monotonic()
            work()
            report[name] = f"{time.monotonic() - began:6.1f} s"
        base, image = made.megabytes(BASE), made.megabytes(IMAGE)
        report["production image"] = f"{image:6.0f} MB, of which base {base:.0f} MB"
        report["local image"] = f"{made.megabytes(LOCAL):6.0f} MB"
        yield made
    finally:
        made.close()
        assert not folder.exists()


def _build(engine: Engine, target: str, name: str) -> None:
    engine.build(base=BASE, target=target, name=name)


@pytest.fixture(scope="session")
def up(engine: Engine, report: dict[str, str]) -> Up:
    """Everything up on free ports of 127.0.0.1."""
    api_port, sandbox_port = free_port(), free_port()
    began = time.monotonic()
    engine.compose(
        "up", "--detach", "--no-build",
        SEALWAX_IMAGE=LOCAL,
        SEALWAX_API_PORT=str(api_port),
        SEALWAX_SANDBOX_PORT=str(sandbox_port),
    )  # fmt: skip
    report["compose up"] = f"{time.monotonic() - began:6.1f} s"
    found = re.search(r"^token +(\S+)$", engine.log("init"), re.MULTILINE)
    assert found, engine.log("init")
    stack = Up(
        engine,
        f"http://127.0.0.1:{api_port}",
        f"http://127.0.0.1:{sandbox_port}",
        found.group(1),
    )
    for service in SERVICES:
        wait_for(
            partial(engine.healthy, service),
            seconds=90,
            what=f"health of {service}",
        )
    report["compose up until all are healthy"] = f"{time.monotonic() - began:6.1f} s"
    return stack


@pytest.fixture(scope="session")
def prepared() -> None:
    """See that podman and the others are there."""
    done = subprocess.run(
        [str(Path(__file__).parent / "prepare.sh")],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode != 0:
        pytest.exit(done.stderr, returncode=1)
