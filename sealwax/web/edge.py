"""The HTTP edge that slow peers cannot hold: waitress, with deadlines and caps.

waitress reads all connections in one loop and hands a request to a thread once
it is complete. What it lacks is added here, by its own classes: deadlines that
no drip renews, caps on connections and on bytes held, and a stop that lets requests
end. `sealwax.web.edge_parser` reads the requests, `sealwax.web.edge_worker` runs it.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

from sealwax.settings import WebSettings
from sealwax.web.edge_parser import (
    FRAMING,
    HEADERS,
    EdgeLimits,
    LaterRequest,
    Refusal,
    RequestParser,
)

__all__ = ["EdgeServer", "make_edge"]

log = logging.getLogger("sealwax.edge")

#: Seconds for which a refused peer may go on sending: closed at once, it would
#: get a reset in place of the answer.
LINGER = 2.0

#: Bytes that may arrive between two looks at how many are held.
_LOOK_EVERY = 262_144


class _ProblemTask(ErrorTask):
    """Answers as the application does, never with the input."""

    def execute(self) -> None:
        """Write the problem document; close, unless the whole request has been read."""
        error = self.request.error
        refusal = error if isinstance(error, Refusal) else Refusal(error.code)
        status, headers, body = refusal.document()
        self.status = status
        self.response_headers.extend(headers)
        if refusal.code != 429 or self.channel.server.draining:
            self.channel.refused = True
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

    def parser_class(self, adj: EdgeLimits) -> RequestParser:
        """Return what takes the next bytes: one request is under way at a time."""
        return LaterRequest(adj) if self.requests else RequestParser(adj)

    def readable(self) -> bool:
        """Whether bytes are wanted; the loop asks at each turn, so what was kept goes on here."""
        if self.lingers_until is not None:
            return True
        if isinstance(self.request, LaterRequest) and not self.busy:
            kept, self.request = self.request.kept, None
            self.received(kept)
        return bool(super().readable())

    def service(self) -> None:
        request = self.requests[0]
        if request.error is None and request.path.startswith("/v1/"):
            wait = self.server.early(request.headers.get("AUTHORIZATION", ""))
            if wait is not None:
                self.server.refused += 1
                request.error = Refusal(429, wait)
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
                self.socket.send(Refusal(code).message())
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
        #: Asked for the seconds that a caller must wait, by Authorization; None: it need not.
        self.early: Callable[[str], int | None] = lambda _: None
        self.refused = 0
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
            conn.send(Refusal(503).message())
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
            victim.request.error, victim.will_close = Refusal(503), True
            with contextlib.suppress(OSError):
                victim.socket.send(Refusal(503).message())

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
    adj = EdgeLimits(
        web,
        body_bytes,
        ident="",
        threads=threads,
        connection_limit=never,
        channel_timeout=never,
        cleanup_interval=never,
        max_request_header_size=HEADERS,
        # Of a chunked body: on the wire. `RequestParser` counts its content.
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
