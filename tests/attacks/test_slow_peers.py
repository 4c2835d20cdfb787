"""Peers that drip: more of them than the API has threads, beside callers who do not."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from support.waiting import wait_for
from support.web_app import app, auth, own_app, settings, token

from sealwax.local.ports import free_port

__all__ = ["app", "auth", "own_app", "settings", "token"]

#: More than the threads of the process, and fewer than one address may have.
THREADS, PEERS = 4, 40

KINDS = {
    "headers": b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nX-A: ",
    "bodies": b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\n"
    b"Content-Type: application/json\r\nContent-Length: 4000\r\n\r\n{",
    "bodies after a 401": b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\n"
    b"Content-Type: application/json\r\nContent-Length: 4000\r\n\r\n{",
    "nothing": b"",
}


@pytest.fixture
def system() -> Iterator[socket.socket]:
    """Return an internal system that takes requests and answers none."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener


@pytest.fixture
def health_port() -> int:
    return free_port()


@pytest.fixture
def served(app, settings, system: socket.socket, health_port: int, tmp_path: Path) -> Iterator[int]:
    """Start `sealwax api`, whose one enriched task may hold all threads; yield its port."""
    folder = tmp_path / "served"
    folder.mkdir()
    to = system.getsockname()[1]
    rule = (
        f'{{cidrs = ["127.0.0.1/32"], schemes = ["http"], ports = [{to}], total = 60, read = 60}}'
    )
    (folder / "sealwax.toml").write_text(
        f"""task_modules = ["tasks.customers"]
[limits]
tenant_requests = 0
system_requests = 1000
enrich_seconds = 60
[tasks.customers]
internal_url = "http://127.0.0.1:{to}/{{id}}"
internal_rule = {rule}
crm_url = "http://127.0.0.1:{to}/{{id}}"
crm_rule = {rule}
"""
    )
    port = free_port()
    command = [
        sys.executable, "-m", "sealwax", "api",
        "--port", str(port), "--health-port", str(health_port), "--threads", str(THREADS),
    ]  # fmt: skip
    variables = {**os.environ, "SEALWAX_CONFIG": str(folder / "sealwax.toml")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=variables, stdout=log, stderr=subprocess.STDOUT
        )

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5).ok
        return False

    try:
        wait_for(answers, seconds=60, what="the API's first answer")
        yield port
        process.terminate()
        assert process.wait(timeout=40) == 0
    finally:
        process.kill()
        process.wait(timeout=10)


@contextlib.contextmanager
def dripping(port: int, opening: bytes) -> Iterator[None]:
    """Hold connections that send a byte now and then, and come again where they are closed."""
    stop = threading.Event()
    peers = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(PEERS)]
    for peer in peers:
        peer.sendall(opening)

    def drip() -> None:
        while not stop.wait(0.2):
            for place, peer in enumerate(peers):
                try:
                    if opening:
                        peer.sendall(b"x")
                except OSError:
                    peer.close()
                    with contextlib.suppress(OSError):
                        peers[place] = socket.create_connection(("127.0.0.1", port), timeout=5)
                        peers[place].sendall(opening)

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        for peer in peers:
            peer.close()


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_peers_that_drip_hold_nobody_up(served: int, auth, kind: str) -> None:
    base = f"http://127.0.0.1:{served}"
    with dripping(served, KINDS[kind]):
        for _ in range(20):
            answer = requests.get(f"{base}/v1/tasks", headers=auth, timeout=10)
            assert answer.json()["tasks"], answer.text
            assert requests.get(f"{base}/healthz", timeout=10).status_code == 200


def test_health_answers_while_every_thread_waits(
    served: int, auth, system: socket.socket, health_port: int
) -> None:
    base = f"http://127.0.0.1:{served}"
    body = {"task": "customers.sync", "payload": {"customer_id": "1"}}

    def send() -> None:
        with contextlib.suppress(requests.RequestException):
            requests.post(f"{base}/v1/jobs", json=body, headers=auth, timeout=60)

    threads = [threading.Thread(target=send, daemon=True) for _ in range(THREADS)]
    for each in threads:
        each.start()
    system.settimeout(30)
    held = [system.accept()[0] for _ in threads]
    try:
        with pytest.raises(requests.ReadTimeout):
            requests.get(f"{base}/v1/tasks", headers=auth, timeout=0.5)
        for path in ("healthz", "readyz", "metrics"):
            answer = requests.get(f"http://127.0.0.1:{health_port}/{path}", timeout=10)
            assert answer.status_code == 200, path
    finally:
        system.close()
        for connection in held:
            connection.close()
        for each in threads:
            each.join(30)
