"""The HTTP edge that slow peers cannot hold: waitress, with deadlines and caps.

waitress reads all connections in one loop and hands a request to a thread once
it is complete. What it lacks is added here, by its own classes: deadlines that
no drip renews, caps on connections and on bytes held, refusals before the body
is read, and a stop that lets requests end. `sealwax.web.edge_worker` runs it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

from sealwax.settings import WebSettings
from sealwax.web.problems import PREFIX, PROBLEMS

__all__ = ["EdgeServer", "make_edge"]

log = logging.getLogger("sealwax.edge")

#: Bytes of the request line, and of one header; fields of a request. As gunicorn's were.
REQUEST_LINE = 4_094
HEADER_FIELD = 8_190
HEADER_FIELDS = 64

#: Bytes of all headers together: what an ALB passes on at most.
#: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
HEADERS = 65_536

#: Bytes of a chunk's control line, and of a trailer.
CONTROL_LINE = 1_024

#: Bytes by which the framing of a chunked body may exceed its content.
FRAMING = 65_536

#: Seconds for which a refused peer may go on sending: closed at once, it would
#: get a reset in place of the answer.
LINGER = 2.0

#: Bytes that may arrive between two looks at how many are held.
_LOOK_EVERY = 262_144

#: Headers of which a request has one at most (RFC 9110 section 5.3): servers and
#: proxies that disagree about which one counts are how requests are smuggled.
_SINGLE = frozenset(
    {
        b"authorization", b"content-length", b"content-type", b"host", b"idempotency-key",
        b"transfer-encoding",
    }
)  # fmt: skip

_NAMES = {
    401: "unauthenticated",
    408: "request-timeout",
    413: "too-large",
    415: "unsupported-media-type",
    431: "headers-too-large",
    500: "internal-error",
    503: "edge-busy",
}


@dataclass(frozen=True)
class _Refusal:
    """An answer given without the application."""

    code: int

    def document(self) -> tuple[str, list[tuple[str, str]], bytes]:
        """Return status line, headers and body."""
        name = _NAMES.get(self.code, "malformed-request")
        kind = PROBLEMS[name]
        body = {
            "type": PREFIX + name,
            "title": kind.title,
            "status": kind.status,
            "detail": kind.detail,
        }
        headers = [("Content-Type", "application/problem+json"), ("Cache-Control", "no-store")]
        if kind.status == 401:
            headers.append(("WWW-Authenticate", 'Bearer realm="sealwax"'))
        if kind.status == 503:
            headers.append(("Retry-After", "1"))
        return f"{kind.status} {kind.title}", headers, json.dumps(body).encode()

    def message(self) -> bytes:
        """Return the whole HTTP response, after which the connection closes."""
        status, headers, body = self.document()
        headers += [("Connection", "close"), ("Content-Length", str(len(body)))]
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), "", ""]
        return "\r\n".join(lines).encode("latin-1") + body


class _Limits(Adjustments):
    """waitress's adjustments, and ours."""

    def __init__(self, web: WebSettings, body_bytes: int, **kw: Any) -> None:
        super().__init__(**kw)
        self.web = web
        self.body_bytes = body_bytes


class _Parser(HTTPRequestParser):
    """Refuses what two servers could read in two ways, and what needs no body to be refused."""

    headers_at = 0.0  # monotonic
    error: Any = None
    body_rcv: Any = None

    def parse_header(self, header_plus: bytes) -> None:
        """Read the head; set `error` where the request is refused already."""
        self.headers_at = time.monotonic()
        first, *lines = header_plus.split(b"\r\n")
        fields = [line for line in lines if line]
        if len(first) > REQUEST_LINE or len(fields) > HEADER_FIELDS:
            return self._refuse(431)
        if any(len(line) > HEADER_FIELD for line in fields):
            return self._refuse(431)
        names = Counter(line.partition(b":")[0].lower() for line in fields)
        if (
            any(line[:1] in b" \t" for line in fields)  # obsolete folding
            or any(names[name] > 1 for name in _SINGLE)
            or (names[b"transfer-encoding"] and names[b"content-length"])
            or any(b"_" in name for name in names)
        ):
            return self._refuse(400)
        super().parse_header(header_plus)
        if self.version not in ("1.0", "1.1") or "TRANSFER_ENCODING" in self.headers:
            return self._refuse(400)
        if names[b"transfer-encoding"] and not self.chunked:
            return self._refuse(400)
        if self.version == "1.1" and not names[b"host"]:
            return self._refuse(400)
        if self.body_rcv is not None:
            self._look_before_the_body()
        return None

    def _look_before_the_body(self) -> None:
        if self.content_length > self.adj.body_bytes:
            return self._refuse(413)
        if self.path.startswith("/v1/"):
            kind, _, token = self.headers.get("AUTHORIZATION", "").partition(" ")
            if kind.lower() != "bearer" or not token.strip():
                return self._refuse(401)
        if self.path == "/v1/jobs" and self.command == "POST":
            media = self.headers.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
            if not (media.startswith("application/") and media.endswith(("/json", "+json"))):
                return self._refuse(415)
        return None

    def _refuse(self, code: int) -> None:
        self.error = _Refusal(code)
        self.expect_continue = False
        self.content_length = 0
        self.body_rcv = None  # so that nothing of it is waited for

    def received(self, data: bytes) -> int:
        """Take bytes; bound what frames a chunked body too."""
        consumed: int = super().received(data)
        body = self.body_rcv
        if self.chunked and body is not None and self.error is None:
            framing = self.body_bytes_received - len(body)
            if (
                framing > len(body) + FRAMING
                or len(body.control_line) > CONTROL_LINE
                or len(body.trailer) > HEADER_FIELD
            ):
                self.error, self.completed = _Refusal(400), True
            elif len(body) > self.adj.body_bytes:
                self.error, self.completed = _Refusal(413), True
        return consumed


class _Later(_Parser):
    """What was sent behind a request: kept as it came until that one's answer is on its way.

    Parsed at once, a few kilobytes would be hundreds of requests, and their answers,
    which nobody need read, would fill the memory and then hold the thread.
    """

    def __init__(self, adj: _Limits) -> None:
        super().__init__(adj)
        self.kept = b""

    def received(self, data: bytes) -> int:
        """Take all."""
        self.kept += data
        return len(data)


class _ProblemTask(ErrorTask):
    """Answers as the application does, never with the input."""

    def execute(self) -> None:
        """Write the problem document, and close."""
        self.channel.refused = True
        status, headers, body = _Refusal(self.request.error.code).document()
        self.status = status
        self.response_headers.extend(headers)
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Task(WSGITask):
    def build_response_header(self) -> bytes:
        if self.channel.server.draining:
            self.set_close_on_finish()
        head: bytes = super().build_response_header()
        return head


class _Quiet:
    """waitress's log lines without what the caller sent."""

    def exception(self, *_: Any) -> None:
        log.error("request handling failed", exc_info=sys.exc_info())

    def info(self, *_: Any) -> None:
        """Drop: it names the path."""

    def warning(self, *_: Any) -> None:
        """Drop: the same."""


class _Channel(HTTPChannel):
    """One connection, with the times at which it ends whatever its peer does."""

    error_task_class = _ProblemTask
    task_class = _Task
    logger = _Quiet()
    refused = False
    began = 0.0
    served = False
    close_when_flushed: bool = False
    request: Any = None

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.quiet_since = time.monotonic()
        self.lingers_until: float | None = None

    def received(self, data: bytes) -> bool:
        if self.request is None and not self.requests:
            self.began = time.monotonic()
        taken: bool = super().received(data)
        self.server.holds(len(data))
        return taken

    def parser_class(self, adj: _Limits) -> _Parser:
        """Return what takes the next bytes: one request is under way at a time."""
        return _Later(adj) if self.requests else _Parser(adj)

    def readable(self) -> bool:
        """Whether bytes are wanted; the loop asks at each turn, so what was kept goes on here."""
        if self.lingers_until is not None:
            return True
        if isinstance(self.request, _Later) and not self.busy:
            kept, self.request = self.request.kept, None
            self.received(kept)
        return bool(super().readable())

    def service(self) -> None:
        super().service()
        self.served = True
        self.quiet_since = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether a complete request is being served or answered."""
        return bool(self.requests or self.total_outbufs_len)

    @property
    def held(self) -> int:
        """Bytes of bodies in memory."""
        partial = self.request.body_bytes_received if self.request else 0
        return int(partial) + sum(int(request.body_bytes_received) for request in self.requests)

    def ends_at(self, web: WebSettings) -> float:
        """Return the monotonic time at which the connection is closed as it stands."""
        if self.lingers_until is not None:
            return self.lingers_until
        if self.busy:
            return self.began + web.request_seconds
        request = self.request
        if request is None:
            return self.quiet_since + (web.keepalive_seconds if self.served else web.header_seconds)
        if request.headers_finished:
            body = float(request.headers_at) + web.body_seconds
            return min(body, self.began + web.request_seconds)
        return self.began + web.header_seconds

    def end(self, code: int | None) -> None:
        """Close at once; say why where that can be sent without waiting."""
        if code is not None and not self.busy and self.lingers_until is None:
            with contextlib.suppress(OSError):
                self.socket.send(_Refusal(code).message())
        self.handle_close()

    # -- an answer that came before the whole request -----------------------------

    def handle_write(self) -> None:
        if not (self.refused and self.close_when_flushed):
            super().handle_write()
            return
        self._flush_exception(self._flush_some)
        if self.will_close:
            self.handle_close()
        elif not self.total_outbufs_len:
            self.close_when_flushed = False
            self.lingers_until = time.monotonic() + LINGER
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)

    def handle_read(self) -> None:
        if self.lingers_until is None:
            super().handle_read()
            return
        try:
            self.recv(65_536)  # nobody reads it; at its end the base closes
        except OSError:
            self.handle_close()


class EdgeServer(TcpWSGIServer):
    """The loop of one listening socket; make it by `make_edge`."""

    channel_class = _Channel
    logger = _Quiet()
    draining = False

    def __init__(self, *args: Any, **kw: Any) -> None:
        self.closed: Counter[str] = Counter()
        self.turned = time.monotonic()
        self._arrived = 0
        self._next_look = 0.0
        super().__init__(*args, **kw)

    # -- connections ----------------------------------------------------------------

    def handle_accept(self) -> None:
        """Take a connection, within the caps."""
        try:
            accepted = self.accept()
            if accepted is None:
                return
            conn, addr = accepted
        except OSError:
            return
        web: WebSettings = self.adj.web
        channels = list(self.active_channels.values())
        cap = web.connections_per_address
        if cap and sum(channel.addr[0] == addr[0] for channel in channels) >= cap:
            self._turn_away(conn, "address")
            return
        if len(channels) >= web.connections and not self._make_room(channels):
            self._turn_away(conn, "full")
            return
        with contextlib.suppress(OSError):
            self.set_socket_options(conn)
            self.channel_class(self, conn, self.fix_addr(addr), self.adj, map=self._map)

    def _turn_away(self, conn: socket.socket, why: str) -> None:
        self.closed[why] += 1
        with contextlib.suppress(OSError):
            conn.settimeout(0)
            conn.send(_Refusal(503).message())
        conn.close()

    def _make_room(self, channels: list[_Channel]) -> bool:
        """End the connection whose peer has been sending or reading for longest, else an idle one.

        So many that drip are never in the way of one that sends.
        """
        waiting = [channel for channel in channels if not channel.requests]
        if not waiting:
            return False
        victim = min(
            waiting,
            key=lambda channel: (
                channel.request is None and channel.served and not channel.busy,
                channel.began or channel.quiet_since,
            ),
        )
        self.closed["evicted"] += 1
        victim.end(503)
        return True

    def holds(self, size: int) -> None:
        """Bound the bodies in memory, after `size` more bytes: the largest partial one goes."""
        self._arrived += size
        if self._arrived < min(_LOOK_EVERY, self.adj.web.buffered_bytes // 4):
            return
        self._arrived = 0
        channels = list(self.active_channels.values())
        total = sum(channel.held for channel in channels)
        partial = [c for c in channels if c.request is not None and not c.requests]
        partial.sort(key=lambda channel: channel.held)
        while total > self.adj.web.buffered_bytes and partial:
            victim = partial.pop()
            total -= victim.held
            self.closed["buffered"] += 1
            # Not closed here: it may be the one whose bytes are being taken.
            victim.request.error, victim.will_close = _Refusal(503), True
            with contextlib.suppress(OSError):
                victim.socket.send(_Refusal(503).message())

    # -- the loop ---------------------------------------------------------------------

    def turn(self, seconds: float = 0.5) -> None:
        """Wait for bytes for at most `seconds` and do what they ask."""
        self.asyncore.loop(timeout=seconds, map=self._map, use_poll=True, count=1)
        now = self.turned = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + 0.25
        for channel in list(self.active_channels.values()):
            if channel.ends_at(self.adj.web) <= now:
                if channel.lingers_until is None:
                    idle = channel.request is None and not channel.busy
                    self.closed["idle" if idle else "deadline"] += 1
                    channel.end(None if idle else 408)
                else:
                    channel.end(None)

    def maintenance(self, now: float) -> None:
        """Do nothing: `turn` has absolute times in place of waitress's idle ones."""

    def drain(self, seconds: float) -> None:
        """Close the listening socket, let requests end for `seconds` at most, close the rest."""
        self.draining = True
        wasyncore.dispatcher.close(self)
        end = time.monotonic() + seconds
        while self.active_channels and time.monotonic() < end:
            for channel in list(self.active_channels.values()):
                if channel.request is None and not channel.busy and channel.lingers_until is None:
                    channel.end(None)
            self.turn(0.05)
        for channel in list(self.active_channels.values()):
            channel.end(None)
        self.task_dispatcher.shutdown(timeout=1)
        self.trigger.close()


def make_edge(
    application: Any, listening: socket.socket, web: WebSettings, *, body_bytes: int, threads: int
) -> EdgeServer:
    """Return a server on a bound socket.

    Parameters
    ----------
    body_bytes
        Largest body.
    threads
        Complete requests served at once.
    """
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    never = 2**31 - 1  # no body and no answer is written to a disk
    adj = _Limits(
        web,
        body_bytes,
        ident="",
        threads=threads,
        connection_limit=never,
        channel_timeout=never,
        cleanup_interval=never,
        max_request_header_size=HEADERS,
        # Of a chunked body: on the wire. `_Parser` counts its content.
        max_request_body_size=2 * body_bytes + FRAMING + 1,
        inbuf_overflow=never,
        outbuf_overflow=never,
        outbuf_high_watermark=1_048_576,
        asyncore_use_poll=True,
        log_socket_errors=False,
        clear_untrusted_proxy_headers=False,  # the console reads X-Forwarded-Proto
    )
    dispatcher = ThreadedTaskDispatcher()
    dispatcher.set_thread_count(threads)
    listening.settimeout(0)
    sockinfo = (listening.family, listening.type, listening.proto, listening.getsockname())
    return EdgeServer(
        application,
        map={},
        _sock=listening,
        dispatcher=dispatcher,
        adj=adj,
        sockinfo=sockinfo,
        bind_socket=False,
    )
