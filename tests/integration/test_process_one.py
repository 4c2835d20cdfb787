"""SIGTERM in a role's first moment, also as process 1, which the kernel spares what it ignores."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from support.templates import Stack

ROOT = Path(__file__).parents[2]

ROLES = {
    "api": ["api", "--port", "0", "--health-port", "0"],
    "worker": ["worker", "--lane", "default"],
    "steward": ["steward"],
    "sandbox": ["sandbox", "--port", "0"],
    "local-init": ["local-init", "--config-dir", "."],
    "check": ["check"],
}

#: A process id namespace of its own; the first process in it is number 1.
UNSHARE = [shutil.which("unshare") or "unshare", "--pid", "--fork", "--kill-child"]


@pytest.fixture(scope="module")
def namespaces() -> None:
    """Skip where the kernel gives this user no namespace of process ids."""
    try:
        subprocess.run([*UNSHARE, "true"], check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("no namespaces of process ids for this user")


def catches_sigterm(pid: int) -> bool:
    """Whether a process has a handler of SIGTERM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) & 1 << (signal.SIGTERM - 1))
    return False


@contextmanager
def process_one(arguments: list[str], folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the program as process 1; yield it, and its id seen from outside."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    process = subprocess.Popen(
        [*UNSHARE, sys.executable, "-m", "sealwax", *arguments],
        env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        end = time.monotonic() + 60
        while not (found := children.read_text().split()) and time.monotonic() < end:
            time.sleep(0.002)
        yield process, int(found[0])
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("role", ROLES)
def test_a_role_as_process_1_obeys_a_sigterm_of_its_first_moment(role: str, tmp_path: Path) -> None:
    with process_one(ROLES[role], tmp_path) as (process, pid):
        end = time.monotonic() + 60
        while not catches_sigterm(pid):
            assert time.monotonic() < end
            time.sleep(0.002)
        os.kill(pid, signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
        assert process.communicate()[0] == ""


def test_elsewhere_it_ends_as_by_the_signal_itself(tmp_path: Path) -> None:
    code = "import os, signal, sealwax.__main__ as m\nm.end(signal.SIGTERM, None)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGTERM


RECORD = """
import json, runpy, signal, sys
real = signal.signal
def record(number, handler):
    if number == signal.SIGTERM:
        print(json.dumps(sorted(sys.modules)), flush=True)
        sys.exit()
    return real(number, handler)
signal.signal = record
sys.argv = ["sealwax", *{arguments}]
runpy.run_module("sealwax", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("role", ROLES)
def test_the_handler_stands_before_any_import_that_takes_time(role: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RECORD.replace("{arguments}", repr(ROLES[role]))],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    loaded = set(json.loads(done.stdout))
    heavy = {"boto3", "botocore", "celery", "click", "flask", "kombu", "pydantic", "structlog"}
    assert not heavy & loaded
    assert not any(name.startswith("sealwax.") and name != "sealwax.__main__" for name in loaded)


def test_templates_and_compose_files_give_each_role_an_init() -> None:
    for name in ("docker-compose.yml", "sealwax/scaffold/project/docker-compose.yml.in"):
        services = yaml.safe_load((ROOT / name).read_text())["services"]
        assert len(services) >= 3
        assert {service: made.get("init") for service, made in services.items()} == dict.fromkeys(
            services, True
        )
    for stack in ("api", "worker", "steward"):
        found = Stack(stack, {}).of_type("AWS::ECS::TaskDefinition").values()
        for task in found:
            for container in task["ContainerDefinitions"]:
                assert container["LinuxParameters"]["InitProcessEnabled"] is True
        assert found
