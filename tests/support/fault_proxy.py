"""A proxy before SQS that fails on request.

Errors by code, stalls (dropped when healed), mutes (never answered at all),
cuts, refused connections, lost answers, latency, and credentials that expire.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Kind = Literal["error", "stall", "mute", "cut", "refuse", "lost", "slow"]


@dataclass
class Fault:
    """What goes wrong, with which operations, how often (None: until healed)."""

    kind: Kind
    status: int = 503
    code: str = "ServiceUnavailable"
    seconds: float = 0.0
    operations: tuple[str, ...] = ()
    times: int | None = None


#: Faults under which an answer that is already under way is lost too.
SEVERING = frozenset({"stall", "mute", "cut", "refuse"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        # So that the port stays ours while nobody listens on it.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that leave are what this is for."""


class FaultProxy:
    """An HTTP proxy on 127.0.0.1; `fault` is what goes wrong now, None: nothing.

    `accepts` tells by a request's access key whether its credentials are valid.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.fault: Fault | None = None
        self.seen: Counter[str] = Counter()
        self.faulted: Counter[str] = Counter()
        #: WaitTimeSeconds of each receive.
        self.waits: list[int] = []
        self.accepts: Callable[[str], bool] | None = None
        self._lock = threading.Lock()
        self._healed = threading.Event()
        self._closed = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                proxy.handle(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its signature
                pass

        self._handler = Handler
        # Bound, never listening: keeps the port while connections are refused.
        self._keeper = socket.socket()
        self._keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._keeper.bind(("127.0.0.1", 0))
        self._address: tuple[str, int] = self._keeper.getsockname()
        self.url = f"http://127.0.0.1:{self._address[1]}"
        self._server: _Server | None = None
        self._listen()

    def _listen(self) -> None:
        if self._server is None:
            self._server = _Server(self._address, self._handler)
            threading.Thread(
                target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
            ).start()

    def _refuse(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def close(self) -> None:
        """End."""
        self._closed.set()
        self._healed.set()
        self._refuse()
        self._keeper.close()

    def heal(self) -> None:
        """Let everything pass again; stalled connections are dropped, muted ones stay mute."""
        self.fault = None
        self._listen()
        self._healed.set()

    def break_with(self, fault: Fault) -> None:
        """Begin to fail."""
        self._healed.clear()
        self.fault = fault
        if fault.kind == "refuse":
            self._refuse()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Serve one request."""
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        operation = (request.headers.get("X-Amz-Target") or "").rpartition(".")[2]
        self.seen[operation] += 1
        if operation == "ReceiveMessage":
            self.waits.append(int(json.loads(body).get("WaitTimeSeconds") or 0))
        fault = self._take(operation)
        if fault is not None:
            self.faulted[operation] += 1
            if fault.kind == "error":
                payload = json.dumps({"__type": f"com.amazonaws.sqs#{fault.code}"}).encode()
                _answer(request, fault.status, payload)
                return
            if fault.kind in SEVERING:
                self._sever(request, fault)
                return
            if fault.kind == "slow":
                time.sleep(fault.seconds)
        if self.accepts is not None and not self.accepts(_access_key(request)):
            self.faulted["ExpiredToken"] += 1
            _answer(request, 403, json.dumps({"__type": "ExpiredToken"}).encode())
            return
        connection = http.client.HTTPConnection(
            self.upstream.hostname or "", self.upstream.port, timeout=60
        )
        try:
            headers = {k: v for k, v in request.headers.items() if k.lower() != "host"}
            connection.request("POST", request.path, body, headers)
            response = connection.getresponse()
            payload = response.read()
        finally:
            connection.close()
        if fault is not None and fault.kind == "lost":
            _reset(request)
            return
        begun = self.fault
        if begun is not None and begun.kind in SEVERING and not begun.operations:
            self.faulted[operation] += 1
            self._sever(request, begun)
            return
        _answer(request, response.status, payload)

    def _sever(self, request: BaseHTTPRequestHandler, fault: Fault) -> None:
        if fault.kind == "stall":
            self._healed.wait()
        elif fault.kind == "mute":
            self._closed.wait()
        _reset(request)

    def _take(self, operation: str) -> Fault | None:
        with self._lock:
            fault = self.fault
            if fault is None or (fault.operations and operation not in fault.operations):
                return None
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self.fault = None
            return fault


def _access_key(request: BaseHTTPRequestHandler) -> str:
    credential = (request.headers.get("Authorization") or "").partition("Credential=")[2]
    return credential.partition("/")[0]


def _answer(request: BaseHTTPRequestHandler, status: int, payload: bytes) -> None:
    try:
        request.send_response(status)
        request.send_header("Content-Type", "application/x-amz-json-1.0")
        request.send_header("Content-Length", str(len(payload)))
        request.end_headers()
        request.wfile.write(payload)
    except OSError:
        request.close_connection = True


def _reset(request: BaseHTTPRequestHandler) -> None:
    # Linger 0: the client sees a reset, not an orderly end.
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.close_connection = True
    request.connection.close()
