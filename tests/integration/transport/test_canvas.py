"""Chains, groups and chords with a result backend, through real workers."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.sqs_lab import Lab
from support.waiting import wait_for

CODE = """
import json
from celery import chain, chord, group
from lab_app import add, total
print(json.dumps([
    chain(add.s(1, 2), add.s(3), add.s(4)).apply_async().get(timeout=40),
    group(add.s(n, n) for n in range(5)).apply_async().get(timeout=40),
    chord([add.s(n, 1) for n in range(5)], total.s()).apply_async().get(timeout=40),
    (group(add.s(n, n) for n in range(3)) | total.s() | add.s(1)).apply_async().get(timeout=40),
    add.apply_async((1, 1), link=add.s(5)).get(timeout=40),
]))
"""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """Run a Redis server; skip where there is none."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: answers(port), what="Redis")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.kill()
        server.wait(10)


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False


@pytest.mark.parametrize("backend", ["file", "redis"])
def test_chains_groups_and_chords_work(
    lab: Lab, backend: str, request: pytest.FixtureRequest
) -> None:
    if backend == "redis":
        url = request.getfixturevalue("redis")
    else:
        results = lab.folder / "results"
        results.mkdir()
        url = f"file://{results}"
    conf = {"result_backend": url, "task_ignore_result": False}
    worker = lab.start_worker(conf=conf)
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env=lab.environment(conf=conf),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [10, [0, 2, 4, 6, 8], 15, 7, 2]
    assert lab.dead_count() == 0
    wait_for(lab.empty)
    assert worker.poll() is None
