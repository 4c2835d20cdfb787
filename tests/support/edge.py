"""A running edge, with an application that says how much it was sent."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sealwax.settings import WebSettings
from sealwax.web.edge import EdgeServer, make_edge

__all__ = ["BEARER", "LIMIT", "Running", "answer", "drip_until_closed", "head", "run"]

LIMIT = 4_096
BEARER = "Authorization: Bearer x"


class Running:
    """An edge whose application says how much it was sent, in a loop of its own."""

    def __init__(self, web: dict[str, Any], threads: int) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.paths: list[str] = []
        self.large = b"x" * 30_000
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.edge: EdgeServer = make_edge(
            self._app,
            self.listening,
            WebSettings.model_validate(web),
            body_bytes=LIMIT,
            threads=threads,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _app(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        self.paths.append(environ["PATH_INFO"])
        self.entered.release()
        assert self.gate.wait(30)
        size = len(environ["wsgi.input"].read())
        body = self.large if environ["PATH_INFO"] == "/large" else f"{size} bytes".encode()
        start("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    def _run(self) -> None:
        while not self._stop.is_set():
            self.edge.turn(0.05)
        self.edge.drain(10)

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self.gate.set()
        self.stop()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def ask(self, text: str | bytes) -> tuple[int, str, bytes]:
        """Send on a connection of its own; return the answer's status, head and body."""
        with self.connect() as peer:
            peer.sendall(text if isinstance(text, bytes) else head(text))
            return answer(peer)


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def answer(peer: socket.socket) -> tuple[int, str, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = peer.recv(1)  # what follows is the next answer's
        if not more:
            return 0, "", data
        data += more
    top, _, rest = data.partition(b"\r\n\r\n")
    text = top.decode("latin-1")
    size = next(int(x.split(":")[1]) for x in text.split("\r\n") if x.startswith("Content-Length"))
    while len(rest) < size:
        rest += peer.recv(size - len(rest))
    return int(text.split()[1]), text, rest


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def start(threads: int = 2, **web: Any) -> Running:
        made.append(Running(web, threads))
        return made[-1]

    yield start
    for running in made:
        running.close()


def drip_until_closed(peer: socket.socket, piece: bytes) -> float:
    """Send a piece every 0.1 s; return after how many seconds the peer closed."""
    begun = time.monotonic()
    peer.settimeout(0.1)
    while time.monotonic() - begun < 30:
        try:
            peer.sendall(piece)
            if peer.recv(65_536) == b"":
                return time.monotonic() - begun
        except TimeoutError:
            continue
        except ConnectionError:
            return time.monotonic() - begun
    raise AssertionError("it was never closed")
