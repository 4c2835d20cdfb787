from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from support.aws import REPOSITORY, emulator_environment
from support.waiting import wait_for

FREE_PORTS = ["--port", "0", "--emulator-port", "0", "--sandbox-port", "0"]


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SEALWAX_"))}
    return kept | {
        "SEALWAX_EMULATOR_ENV": str(emulator_environment()),
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(REPOSITORY),  # has the application that sealwax.toml names
        # Marks all descendants, so that those left behind can be found.
        "SEALWAX_TEST_MARK": f"mark-{os.getpid()}-{time.monotonic_ns()}",
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the repository's own sealwax.toml and nothing else."""
    (tmp_path / "sealwax.toml").write_text((REPOSITORY / "sealwax.toml").read_text())
    return tmp_path


def start(folder: Path, variables: dict[str, str], *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sealwax", "dev", *FREE_PORTS, "--state-dir", str(folder), *options],
        cwd=folder.parent,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"ended before {text!r}:\n{seen}")


def listeners(output: str) -> list[int]:
    return [int(port) for port in re.findall(r"on port (\d+)", output)]


def readable_by_others(folder: Path) -> list[str]:
    """Return what of a folder, itself included, gives group or others anything."""
    found = [folder, *folder.rglob("*")]
    assert len(found) > 10
    return [str(path) for path in found if path.stat().st_mode & 0o077]


def nobody_listens(ports: list[int]) -> bool:
    import socket

    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return False
    return True


def test_once_runs_the_demo_job_and_leaves_nothing_running(folder):
    done = subprocess.run(
        [
            sys.executable, "-m", "sealwax", "dev", "--once", *FREE_PORTS,
            "--state-dir", str(folder / "state"),
        ],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"job [0-9a-f]{32} succeeded", done.stdout)
    ports = listeners(done.stdout)
    assert len(ports) == 3
    assert nobody_listens(ports)
    assert readable_by_others(folder / "state") == []


@pytest.mark.long
def test_it_stays_until_interrupted_and_keeps_its_state(folder):
    state = folder / "state"
    first = start(state, environment())
    output = read_until(first, "Ctrl-C stops everything")
    token = re.search(r"^token +(\S+)$", output, re.MULTILINE)
    job = re.search(r"job ([0-9a-f]{32}) succeeded", output)
    url = re.search(r"^API +(\S+)$", output, re.MULTILINE)
    assert token
    assert job
    assert url

    second = start(state, environment())
    refused, _ = second.communicate(timeout=60)
    assert second.returncode == 1
    assert f"process {first.pid}" in refused

    first.send_signal(signal.SIGINT)
    rest, _ = first.communicate(timeout=60)
    assert first.returncode == 0, rest
    assert nobody_listens(listeners(output))

    again = start(state, environment(), "--no-demo")
    output = read_until(again, "Ctrl-C stops everything")
    url = re.search(r"^API +(\S+)$", output, re.MULTILINE)
    assert url
    answer = requests.get(
        f"{url[1]}/v1/jobs/{job[1]}", headers={"Authorization": f"Bearer {token[1]}"}, timeout=10
    )
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=60)
    assert answer.status_code == 200
    assert answer.json()["state"] == "succeeded"


def test_nothing_is_left_when_it_is_killed(folder):
    process = start(folder / "state", environment())
    output = read_until(process, "Ctrl-C stops everything")
    process.kill()
    process.communicate(timeout=60)
    wait_for(lambda: nobody_listens(listeners(output)), what="the end of all listeners")


def test_a_named_port_that_is_taken_is_refused(folder):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        process = start(folder / "state", environment(), "--port", port)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"Port {port} for the API (--port) is taken" in output


def test_a_folder_without_tasks_says_what_to_do(tmp_path):
    process = start(tmp_path / "state", environment())
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "`sealwax new DIR`" in output
    assert nobody_listens(listeners(output))


@pytest.mark.long
def test_what_the_folders_file_sets_is_in_force(folder):
    with (folder / "sealwax.toml").open("a") as file:
        file.write('\n[retry."webhooks.relay"]\nattempts = 2\n')
    process = start(folder / "state", environment(), "--no-demo")
    output = read_until(process, "Ctrl-C stops everything")
    url = re.search(r"^API +(\S+)$", output, re.MULTILINE)
    token = re.search(r"^token +(\S+)$", output, re.MULTILINE)
    assert url
    assert token
    answer = requests.get(
        f"{url[1]}/v1/tasks", headers={"Authorization": f"Bearer {token[1]}"}, timeout=10
    )
    own = requests.get(
        f"{url[1]}/v1/whoami", headers={"Authorization": f"Bearer {token[1]}"}, timeout=10
    )
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    attempts = {each["name"]: each["attempts"] for each in answer.json()["tasks"]}
    assert attempts["webhooks.relay"] == 2
    assert f"configuration: {folder / 'sealwax.toml'}" in output
    # The application that sealwax.toml names has a route of its own.
    assert "jobs:submit" in own.json()["scopes"]
