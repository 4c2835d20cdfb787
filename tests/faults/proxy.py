"""A proxy before SQS that fails on request: errors by code, stalls, cuts, lost answers, latency."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Kind = Literal["error", "stall", "cut", "lost", "slow"]


@dataclass
class Fault:
    """What goes wrong, with which operations, how often (None: until healed)."""

    kind: Kind
    status: int = 503
    code: str = "ServiceUnavailable"
    seconds: float = 0.0
    operations: tuple[str, ...] = ()
    times: int | None = None


class FaultProxy:
    """An HTTP proxy on 127.0.0.1; `fault` is what goes wrong now, None: nothing."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.fault: Fault | None = None
        self.seen: Counter[str] = Counter()
        self.faulted: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._healed = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                proxy.handle(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its signature
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._healed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def heal(self) -> None:
        """Let everything pass again; stalled connections are dropped."""
        self.fault = None
        self._healed.set()

    def break_with(self, fault: Fault) -> None:
        """Begin to fail."""
        self._healed.clear()
        self.fault = fault

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Serve one request."""
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        operation = (request.headers.get("X-Amz-Target") or "").rpartition(".")[2]
        self.seen[operation] += 1
        fault = self._take(operation)
        if fault is not None:
            self.faulted[operation] += 1
            if fault.kind == "error":
                payload = json.dumps({"__type": f"com.amazonaws.sqs#{fault.code}"}).encode()
                _answer(request, fault.status, payload)
                return
            if fault.kind == "cut":
                _reset(request)
                return
            if fault.kind == "stall":
                self._healed.wait()
                _reset(request)
                return
            if fault.kind == "slow":
                time.sleep(fault.seconds)
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
        _answer(request, response.status, payload)

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
