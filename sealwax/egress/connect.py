"""Connections that go to checked addresses only and keep one deadline.

Called by `sealwax.egress.client`. A connection never resolves a name: it is given
addresses. The name stays in the Host header, in SNI and in the certificate
check. The deadline is looked at before every operation on the socket, because
a time-out of the socket alone begins anew with every byte that arrives.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util import parse_url
from urllib3.util.ssl_ import create_urllib3_context

from sealwax.egress.addresses import Address
from sealwax.egress.rules import Target

__all__ = ["Deadline", "PinnedAdapter", "trust"]


class Deadline:
    """The moment when a request must be over, and the longest silence until then."""

    def __init__(self, *, total: float, read: float) -> None:
        self._at = time.monotonic() + total
        self._read = read

    @property
    def passed(self) -> bool:
        """Whether time is up."""
        return time.monotonic() >= self._at

    def remaining(self) -> float:
        """Return the seconds left; raise TimeoutError where there are none."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request's total time is used up")
        return left

    def silence(self) -> float:
        """Return the seconds that the next read may wait."""
        return min(self._read, self.remaining())


class _Socket(socket.socket):
    """A plain socket that keeps a deadline."""

    deadline: Deadline | None = None

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        if self.deadline is not None:
            self.settimeout(self.deadline.silence())
        return super().recv_into(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        # The time-out of one sendall covers all of its data.
        if self.deadline is not None:
            self.settimeout(self.deadline.remaining())
        super().sendall(*args, **kwargs)


class _TlsSocket(ssl.SSLSocket):
    """A TLS socket that keeps a deadline, once its handshake is done."""

    deadline: Deadline | None = None

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        if self.deadline is not None:
            self.settimeout(self.deadline.silence())
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        # sendall of a TLS socket is a loop of these.
        if self.deadline is not None:
            self.settimeout(self.deadline.remaining())
        return super().send(*args, **kwargs)


def trust(ca_file: str) -> ssl.SSLContext:
    """Return a TLS context that trusts the authorities in a PEM file and verifies names."""
    context = create_urllib3_context()
    context.load_verify_locations(ca_file)
    context.sslsocket_class = _TlsSocket
    return context


class _Pinned:
    """What both kinds of connection share: connect to given addresses."""

    addresses: Sequence[Address]
    deadline: Deadline
    connect_seconds: float

    def open_socket(self, connection: HTTPConnection) -> socket.socket:
        """Return a socket to the first address that answers in time."""
        until = time.monotonic() + self.connect_seconds
        failure: OSError | None = None
        for address in self.addresses:
            left = min(until - time.monotonic(), self.deadline.remaining())
            if left <= 0:
                failure = TimeoutError("no address answered in time")
                break
            family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
            sock = _Socket(family, socket.SOCK_STREAM)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(left)
                sock.connect((str(address), connection.port))
            except OSError as error:
                sock.close()
                failure = error
                continue
            sock.deadline = self.deadline
            # A TLS handshake is one operation of the socket: what is left of the
            # time to connect bounds it whole.
            sock.settimeout(max(until - time.monotonic(), 0.001))
            return sock
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(connection, "no address answered in time")
        raise NewConnectionError(connection, "no address accepted the connection")


class _PlainConnection(HTTPConnection):
    def __init__(self, *args: Any, pin: _Pinned, **kwargs: Any) -> None:
        self._pin = pin
        super().__init__(*args, **kwargs)

    def _new_conn(self) -> socket.socket:
        return self._pin.open_socket(self)


class _TlsConnection(HTTPSConnection):
    def __init__(self, *args: Any, pin: _Pinned, **kwargs: Any) -> None:
        self._pin = pin
        super().__init__(*args, **kwargs)

    def _new_conn(self) -> socket.socket:
        return self._pin.open_socket(self)

    def connect(self) -> None:
        super().connect()
        if isinstance(self.sock, _TlsSocket):
            self.sock.deadline = self._pin.deadline


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class PinnedAdapter(HTTPAdapter):
    """Sends one request over one new connection to one of the given addresses.

    Connections are not kept: the first bytes on a kept one can meet a server
    that has just closed it, and that would cost the job an attempt.

    Parameters
    ----------
    addresses
        Where to connect: the target's checked addresses, or the proxy's.
    connect
        Seconds for connection and TLS handshake.
    proxy
        `http://host:port`, or None.
    """

    def __init__(
        self,
        *,
        target: Target,
        addresses: Sequence[Address],
        deadline: Deadline,
        connect: float,
        context: ssl.SSLContext | None,
        proxy: str | None,
    ) -> None:
        super().__init__(max_retries=0)
        pin = _Pinned()
        pin.addresses, pin.deadline, pin.connect_seconds = addresses, deadline, connect
        extra: dict[str, Any] = {"pin": pin, "maxsize": 1}
        host, port = target.host, target.port
        if proxy is not None:
            extra["_proxy"] = parse_url(proxy)
            extra["_proxy_headers"] = {}
            if target.scheme == "http":
                host, port = extra["_proxy"].host, extra["_proxy"].port or 80
        self._pool: HTTPConnectionPool
        if target.scheme == "https":
            self._pool = _TlsPool(host, port, ssl_context=context, **extra)
        else:
            self._pool = _PlainPool(host, port, **extra)

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> HTTPConnectionPool:
        """Return the one pool, whatever the request says."""
        return self._pool

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Leave verification to the context, which always verifies."""

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()
        super().close()


def prepared(target: Target, method: str, headers: dict[str, str], body: bytes | None) -> Any:
    """Return requests' form of a request, made without a session: no cookies, no environment."""
    return requests.Request(method, target.url, headers=headers, data=body).prepare()
