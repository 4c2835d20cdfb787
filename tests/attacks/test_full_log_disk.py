"""A log that takes nothing more: every role starts, works and ends as it would."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.stack import LiveStack
from support.waiting import wait_for


@pytest.fixture(scope="module")
def stack(make_stack: Callable[..., LiveStack]) -> LiveStack:
    return make_stack(worker=False)


@pytest.fixture
def start(
    stack: LiveStack, tmp_path: Path
) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], Path]]]:
    """Start a role whose standard streams lead to a full disk; its health stands in a file."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
        health = tmp_path / "health.json"
        with Path("/dev/full").open("wb") as full:
            process = subprocess.Popen(
                [sys.executable, "-m", "sealwax", *arguments],
                cwd=stack.state,
                env={**stack.variables, "SEALWAX_LIVENESS_FILE": str(health)},
                stdout=full,
                stderr=full,
                start_new_session=True,
            )
        started.append(process)
        return process, health

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.mark.long
def test_a_worker_runs_jobs_without_a_log(stack, start) -> None:
    job_id = stack.relay("r0", {"n": 1})
    process, _ = start("worker")
    assert stack.wait(job_id, seconds=60)["state"] == "succeeded"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0


def test_a_steward_does_its_duties_without_a_log(start) -> None:
    process, health = start("steward")

    def alive() -> bool:
        assert process.poll() is None
        return health.exists()

    wait_for(alive, seconds=60, what="the steward's health")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0


def test_an_api_answers_without_a_log(stack, start) -> None:
    import requests

    from sealwax.local.ports import HOST, free_port

    port = free_port()
    process, _ = start("api", "--port", str(port))

    def ready() -> bool:
        assert process.poll() is None
        try:
            return requests.get(f"http://{HOST}:{port}/readyz", timeout=2).status_code == 200
        except requests.ConnectionError:
            return False

    wait_for(ready, seconds=60, what="the API")
    answer = requests.get(
        f"http://{HOST}:{port}/v1/whoami",
        headers={"Authorization": f"Bearer {stack.token}"},
        timeout=10,
    )
    assert answer.status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
