"""Servers under peers that drip: what happens to good requests beside them.

    python bench/edge.py [--python PATH] [--seconds 10]

Each server runs the same WSGI application (10 ms of waiting, 16 threads) in a
process of its own: ours (`sealwax.web.edge`), and with `--python`, a Python that
has them, granian and gunicorn's gthread. Fifty requests a second, each on a
connection of its own, are measured first alone, then beside 200 connections of
which half drip headers and half bodies, a byte a second; meanwhile the health is
asked for on its own port (the others have none). Prints a table and a line of
JSON.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

DRIPPING, RATE, THREADS = 200, 50, 16

APP = """
import time
def app(environ, start):
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    time.sleep(0.01)
    start("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""

OURS = """
import socket, sys, threading
from edge_app import app
from sealwax.settings import WebSettings
from sealwax.web.edge import make_edge
from sealwax.web.edge_worker import PROBE_BYTES, PROBE_THREADS, Probes
def listening(port):
    return socket.create_server(("127.0.0.1", int(port)), backlog=1024)
web = WebSettings.model_validate({"connections_per_address": 0})
edge = make_edge(app, listening(sys.argv[1]), web, body_bytes=1_048_576, threads=16)
probes = Probes(edge, lambda: None)
side = make_edge(
    probes, listening(sys.argv[2]), web, body_bytes=PROBE_BYTES, threads=PROBE_THREADS
)
def answer():
    while True:
        side.turn()
threading.Thread(target=answer, daemon=True).start()
while True:
    edge.turn()
"""

OPENINGS = (
    b"POST / HTTP/1.1\r\nHost: a\r\nX-A: ",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000\r\n\r\n",
)


def commands(folder: Path, python: str | None, port: int, health: int) -> dict[str, list[str]]:
    """Return how each server is started."""
    (folder / "edge_app.py").write_text(APP)
    (folder / "ours.py").write_text(OURS)
    found = {"ours (waitress)": [sys.executable, str(folder / "ours.py"), str(port), str(health)]}
    if python:
        found["granian"] = [
            python, "-m", "granian", "--interface", "wsgi", "--port", str(port),
            "--blocking-threads", str(THREADS), "--no-access-log", "edge_app:app",
        ]  # fmt: skip
        found["gunicorn gthread"] = [
            python, "-m", "gunicorn", "-k", "gthread", "--threads", str(THREADS),
            "--bind", f"127.0.0.1:{port}", "--timeout", "60", "edge_app:app",
        ]  # fmt: skip
    return found


def once(port: int, path: str = "/", end: bytes = b"ok") -> float | None:
    """Return the seconds of one good request; None where it fails, or takes 5 s."""
    began = time.perf_counter()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
            asked = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            peer.sendall(asked.encode())
            while data := peer.recv(4_096):
                if data.endswith(end):
                    return time.perf_counter() - began
    except OSError:
        return None
    return None


class Health(threading.Thread):
    """Asks for the health four times a second, as the balancer does more seldom."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._stopping = threading.Event()
        self._times: list[float | None] = []

    def run(self) -> None:
        while not self._stopping.wait(0.25):
            self._times.append(once(self._port, "/healthz", b'"ok"}'))

    def stop(self) -> dict[str, Any]:
        """Return how many were asked for and failed, and the longest in milliseconds."""
        self._stopping.set()
        self.join(10)
        done = [x * 1_000 for x in self._times if x is not None]
        return {
            "asked": len(self._times),
            "failed": len(self._times) - len(done),
            "longest": round(max(done), 1) if done else None,
        }


def good(port: int, seconds: float) -> dict[str, Any]:
    """Return p50 and p99 in milliseconds, and how many failed."""
    times: list[float | None] = []
    threads = []
    begun = time.monotonic()
    for number in range(int(seconds * RATE)):
        time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
        threads.append(threading.Thread(target=lambda: times.append(once(port)), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join(10)
    done = sorted(x * 1_000 for x in times if x is not None)
    return {
        "failed": len(times) - len(done),
        "p50": round(statistics.median(done), 1) if done else None,
        "p99": round(done[int(len(done) * 0.99) - 1], 1) if done else None,
    }


def drip(port: int, stop: threading.Event) -> None:
    """Hold the connections; those that are closed come again."""

    def come(number: int) -> socket.socket | None:
        try:
            peer = socket.create_connection(("127.0.0.1", port), timeout=1)
            peer.sendall(OPENINGS[number % 2])
        except OSError:
            return None
        return peer

    peers = [come(number) for number in range(DRIPPING)]
    while not stop.wait(1):
        for number, peer in enumerate(peers):
            try:
                if peer is None:
                    raise OSError  # noqa: TRY301 - it comes again like one that was closed
                peer.sendall(b"x")
            except OSError:
                peers[number] = come(number)
    for peer in peers:
        if peer is not None:
            peer.close()


def resident(pid: int) -> float:
    """Return the MiB of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    text = Path(f"/proc/{pid}/status").read_text()
    own = int(text.partition("VmRSS:")[2].split()[0]) / 1_024
    return own + sum(resident(int(child)) for child in children)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--python")
    parser.add_argument("--seconds", type=float, default=10)
    given = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            socket.create_server(("127.0.0.1", 0)) as any_port,
            socket.create_server(("127.0.0.1", 0)) as another,
        ):
            port, health = any_port.getsockname()[1], another.getsockname()[1]
        for server, command in commands(folder, given.python, port, health).items():
            with (folder / "log").open("w") as log:
                process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
            try:
                end = time.monotonic() + 20
                while once(port) is None and time.monotonic() < end:
                    time.sleep(0.1)
                row: dict[str, Any] = {"alone": good(port, given.seconds)}
                row["mib"] = [round(resident(process.pid), 1)]
                stop = threading.Event()
                thread = threading.Thread(target=drip, args=(port, stop), daemon=True)
                thread.start()
                time.sleep(2)
                asking = Health(health) if server.startswith("ours") else None
                if asking is not None:
                    asking.start()
                row["beside"] = good(port, given.seconds)
                row["health"] = None if asking is None else asking.stop()
                row["mib"].append(round(resident(process.pid), 1))
                stop.set()
                thread.join(30)
                rows[server] = row
            finally:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
    print(
        f"{'server':<20} {'alone p99':>10} {'beside p99':>11} {'failed':>7} "
        f"{'health, longest':>16}  MiB before, after"
    )
    for server, row in rows.items():
        print(
            f"{server:<20} {row['alone']['p99']!s:>10} {row['beside']['p99']!s:>11} "
            f"{row['beside']['failed']:>7} {(row['health'] or {}).get('longest', '-')!s:>16}  "
            f"{row['mib'][0]}, {row['mib'][1]}"
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
