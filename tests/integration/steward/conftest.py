"""Processes of the roles around a business task that leaves marks in a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.aws import REPOSITORY
from support.fault_proxy import FaultProxy
from support.letters import letter_settings, message
from support.waiting import wait_for

from sealwax.aws.clients import Aws
from sealwax.keys.lifecycle import init_keys
from sealwax.secrets.factory import make_source
from sealwax.settings import Settings, load_settings

__all__ = ["letter_settings", "make_roles", "message"]

TASKS = """
import os
from pydantic import BaseModel
from sealwax.outcomes import Transient
from sealwax.retry import RetryPolicy
from sealwax.task_definition import task

class Mark(BaseModel):
    n: int

@task(name="test.mark", contract=Mark)
def mark(payload, job):
    line = f"{payload.n} {job.id} {job.attempt}\\n".encode()
    file = os.open(os.environ["MARKS_TEST_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)

@task(name="test.later", contract=Mark, retry=RetryPolicy(attempts=5, base=1, cap=5_000))
def later(payload, job):
    mark.function(payload, job)
    if job.attempt == 1:
        raise Transient("busy", retry_after=2_000)
"""


class Roles:
    """Role processes of one environment, SQS behind a proxy that can fail."""

    def __init__(self, folder: Path, settings: Settings, proxy: FaultProxy) -> None:
        self.folder = folder
        self.settings = settings
        self.proxy = proxy
        self.marks_file = folder / "marks"
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str, ready: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start `sealwax …` and wait until its log has the word."""
        log = self.folder / f"{arguments[0]}-{len(self._running)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "sealwax", *arguments],
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env=os.environ | environment,
                start_new_session=True,
            )
        self._running.append(process)
        process.log = log  # type: ignore[attr-defined]
        wait_for(
            lambda: ready in log.read_text(errors="replace") or process.poll() is not None,
            seconds=60,
            what=f"{arguments[0]} ready",
        )
        assert process.poll() is None, log.read_text(errors="replace")
        return process

    def steward(self) -> subprocess.Popen[bytes]:
        """Start a steward."""
        return self.start("steward", ready="steward ready")

    def worker(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        return self.start("worker", ready=" ready.", **environment)

    def log(self, name: str) -> str:
        """Return what all processes of a role have written."""
        return "".join(
            path.read_text(errors="replace") for path in sorted(self.folder.glob(f"{name}-*.log"))
        )

    def marks(self) -> Counter[int]:
        """Return how often each job has run."""
        if not self.marks_file.exists():
            return Counter()
        return Counter(int(line.split()[0]) for line in self.marks_file.read_text().splitlines())

    def close(self) -> None:
        """End all that was started."""
        for process in self._running:
            if process.poll() is None:
                process.terminate()
        for process in self._running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)


@pytest.fixture
def make_roles(
    provisioned: Settings, ministack: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., Roles]]:
    """Make keys, put SQS behind a proxy, and return how to start roles."""
    made: list[Roles] = []

    def make(**settings: str) -> Roles:
        init_keys(provisioned, make_source(provisioned, Aws()))
        proxy = FaultProxy(ministack.url)
        (tmp_path / "marking_tasks.py").write_text(TASKS)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(REPOSITORY)]))
        monkeypatch.setenv("SEALWAX_TASK_MODULES", '["marking_tasks"]')
        monkeypatch.setenv("SEALWAX_LANES", '{"default":{"poll":1,"lease":10}}')
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", proxy.url)
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MARKS_TEST_FILE", str(tmp_path / "marks"))
        made.append(Roles(tmp_path, load_settings(), proxy))
        return made[-1]

    yield make
    for roles in made:
        roles.close()
        roles.proxy.close()
