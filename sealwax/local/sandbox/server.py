"""The sandbox's HTTP server: the standard library's, one thread a connection."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from sealwax.local.sandbox.controls import Control, Controls, InvalidControl
from sealwax.local.sandbox.customers import customer
from sealwax.local.sandbox.store import Deliveries

__all__ = ["Sandbox"]

#: Largest request body that is taken, in bytes: claim checks go up to 32 MiB.
MAX_BODY = 64 * 1024 * 1024


class Sandbox:
    """A sandbox, running in threads of this process until `stop`.

    Parameters
    ----------
    state_dir
        Folder for what was received; made where it is missing.
    host, port
        Where to listen; port 0 takes a free one.
    secret
        `whsec_…`: with it signatures are verified and recorded.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        secret: str | None = None,
    ) -> None:
        state_dir.mkdir(parents=True, exist_ok=True)
        self.deliveries = Deliveries(state_dir / "deliveries.jsonl")
        self.controls = Controls()
        self.secret = secret
        self.contacts: dict[str, Any] = {}
        self.stopping = threading.Event()
        sandbox = self

        class Handler(_Handler):
            state = sandbox

        self._server = _Server((host, port), Handler)
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its address, for clients on this machine."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Serve in a thread; return self."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving, end hanging answers, close everything."""
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        if self._thread is not None:
            self._thread.join()
        self.deliveries.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent: clients that give up are what the sandbox is for."""


class _Handler(BaseHTTPRequestHandler):
    state: Sandbox
    protocol_version = "HTTP/1.1"
    timeout = 60
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Be silent: bodies and paths belong to the caller."""

    def do_GET(self) -> None:
        self._route()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _route(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        body = self._body()
        if body is None:
            return
        head, _, rest = path.lstrip("/").partition("/")
        if head == "healthz":
            self._json(200, {"ok": True})
        elif head == "control":
            self._control(rest, body)
        elif head == "deliveries":
            self._deliveries(rest, query)
        elif head in {"hooks", "internal", "crm"}:
            self._system(head, rest, path, body)
        else:
            self._json(404, {"error": "unknown path"})

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            self._json(413, {"error": "too large"})
            return None
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            # A caller that died in the middle has delivered nothing.
            self.close_connection = True
            return None
        return body

    # The systems that are played

    def _system(self, head: str, rest: str, path: str, body: bytes) -> None:
        control = self.state.controls.take(path)
        if head != "internal":
            self._record(path, body, control)
        if control is not None and not self._misbehave(control):
            return
        if head == "internal":
            kind, _, customer_id = rest.partition("/")
            found = customer(customer_id) if kind == "customers" else None
            self._json(200 if found else 404, found or {"error": "not found"}, control)
        elif head == "crm":
            self._crm(rest, body, control)
        else:
            self._json(200, {"ok": True}, control)

    def _crm(self, rest: str, body: bytes, control: Control | None) -> None:
        kind, _, contact_id = rest.partition("/")
        if kind != "contacts" or not contact_id:
            self._json(404, {"error": "not found"})
        elif self.command == "PUT":
            try:
                contact = json.loads(body)
            except ValueError:
                self._json(400, {"error": "not JSON"})
                return
            self.state.contacts[contact_id] = contact
            self._json(200, {"id": contact_id}, control)
        else:
            found = self.state.contacts.get(contact_id)
            self._json(200 if found else 404, found or {"error": "not found"}, control)

    def _record(self, path: str, body: bytes, control: Control | None) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        text = body.decode("utf-8", "surrogateescape")
        answered = "ok" if control is None or control.kind in {"slow", "big"} else control.kind
        self.state.deliveries.add(
            {
                "at": time.time(),
                "method": self.command,
                "path": path,
                "headers": headers,
                "body": text,
                "idempotency_key": headers.get("idempotency-key"),
                "signature_ok": self._signature_ok(headers, text),
                "answered": answered,
            }
        )

    def _signature_ok(self, headers: dict[str, str], text: str) -> bool | None:
        if self.state.secret is None or "webhook-signature" not in headers:
            return None
        try:
            Webhook(self.state.secret).verify(text, headers, json_parse=False)
        except (WebhookVerificationError, ValueError):
            return False
        return True

    # Misbehaviour

    def _misbehave(self, control: Control) -> bool:
        """Do what was asked; say whether the usual answer still follows."""
        if control.kind in {"slow", "big"}:
            return True
        if control.kind == "hang":
            self.state.stopping.wait(control.seconds)
            return not self.state.stopping.is_set()
        if control.kind == "fail":
            extra = {"Retry-After": control.retry_after} if control.retry_after else {}
            self._json(control.status, {"error": "as told"}, extra=extra)
            return False
        if control.kind == "redirect":
            self._json(302, {"error": "as told"}, extra={"Location": control.location})
            return False
        self.close_connection = True
        if control.kind == "garbage":
            with contextlib.suppress(OSError):
                self.wfile.write(b"\x16\x03garbage as told\r\n\r\n\x00\xff")
            return False
        # Linger 0: closing sends RST instead of FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        return False

    # Control and inspection

    def _control(self, prefix: str, body: bytes) -> None:
        if self.command == "DELETE":
            self.state.controls.remove(prefix or None)
        elif self.command == "PUT":
            try:
                self.state.controls.put(prefix, Control.parse(json.loads(body)))
            except (InvalidControl, ValueError) as error:
                self._json(400, {"error": str(error)})
                return
        self._json(200, {"controls": self.state.controls.listing()})

    def _deliveries(self, rest: str, query: dict[str, str]) -> None:
        path = query.get("path")
        if self.command == "DELETE":
            self.state.deliveries.clear()
            self._json(200, {"ok": True})
        elif rest == "count":
            self._json(200, self.state.deliveries.count(path))
        elif rest == "keys":
            self._json(200, self.state.deliveries.keys(path))
        else:
            try:
                limit, after = int(query.get("limit", "100")), int(query.get("after", "0"))
            except ValueError:
                self._json(400, {"error": "limit and after are numbers"})
                return
            found = list(
                self.state.deliveries.read(path=path, limit=min(limit, 1_000), after=after)
            )
            self._json(200, {"deliveries": found})

    def _json(
        self,
        status: int,
        value: Any,
        control: Control | None = None,
        extra: dict[str, str] | None = None,
    ) -> None:
        data = json.dumps(value).encode()
        if control is not None and control.kind == "big":
            data = json.dumps({"filler": "x" * control.size}).encode()
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, content in (extra or {}).items():
                self.send_header(name, content)
            self.end_headers()
            if control is not None and control.kind == "slow":
                self._drip(data, control.bytes_per_second)
            else:
                self.wfile.write(data)

    def _drip(self, data: bytes, bytes_per_second: float) -> None:
        for byte in data:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self.state.stopping.wait(1 / bytes_per_second):
                return
