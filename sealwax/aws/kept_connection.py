"""One request and its answer on a connection that botocore has made, and keeps for the next one.

botocore and urllib3 ask each request for its proxy, certificates, retries and
chunks, and read an answer's headers with a parser of mail: most of what is left
of a call's processor time. None of that differs from one call to the next.

Called by `sealwax.aws.direct_calls`. It never connects: where no connection is
idle, where a proxy stands between, or where somebody wraps botocore's or urllib3's
own way (tracers do), the caller sends by botocore's session, which makes the next
connection with its certificates and time-outs. Answers in an unusual form are
read by `http.client`.
"""

from __future__ import annotations

import http.client
import io
import logging
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import (
    ConnectionClosedError,
    HTTPClientError,
    ReadTimeoutError,
    SSLError,
)

__all__ = ["HttpAnswer", "KeptConnections"]

logger = logging.getLogger(__name__)

#: Longest head of an answer that is read here, in bytes; http.client has limits for longer ones.
MAX_HEAD = 16_384

#: Bytes that are asked for at once: more than most answers have.
_CHUNK = 65_536

#: What another release of urllib3 or botocore raises where its parts are named otherwise.
_DIFFERS = (AttributeError, ImportError, LookupError, TypeError)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer, whole.

    Parameters
    ----------
    headers
        Names in lower case; of one that came twice, the last.
    """

    status_code: int
    headers: Mapping[str, str]
    content: bytes


class KeptConnections:
    """The idle connections of one botocore HTTP session to one host. Thread-safe.

    Parameters
    ----------
    session
        botocore's. Any other kind of session keeps no connections that are used here.
    url
        `http[s]://host[:port]/`, as its requests say.
    host
        As they say it in `Host`.
    """

    def __init__(self, session: Any, url: str, host: str) -> None:
        self._session: Any = session
        self._url = url
        self._pool: Any = None
        self._head = b"POST / HTTP/1.1\r\nHost: %b\r\nAccept-Encoding: identity\r\n" % (
            host.encode("latin-1")
        )
        try:
            # None of these is documented; what differs is left to the session itself.
            from botocore.awsrequest import AWSHTTPConnection, AWSHTTPSConnection
            from botocore.httpsession import URLLib3Session

            self._kinds = (AWSHTTPConnection, AWSHTTPSConnection)
            plain = type(session) is URLLib3Session
            if plain and not self._session._proxy_config.proxy_url_for(url):  # noqa: SLF001
                pool = self._session._manager.connection_from_url(url)  # noqa: SLF001
                seconds = pool.timeout.clone().read_timeout
                if isinstance(seconds, int | float):
                    self._pool, self._seconds = pool, float(seconds)
        except _DIFFERS as error:
            self._differs(error)

    def exchange(self, headers: Mapping[str, str], body: bytes) -> HttpAnswer | None:
        """Send a request and return its answer; None: nothing was sent, use the session.

        Parameters
        ----------
        headers
            All but `Host` and `Content-Length`.

        Raises
        ------
        botocore.exceptions.HTTPClientError
            As botocore's session does.
        """
        pool = self._pool
        if pool is None or self._wrapped():
            return None
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        head = "".join(lines).encode("latin-1")
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
            return None  # a value with a line break; the session refuses it
        connection = self._idle(pool)
        if connection is None:
            return None
        kept = False
        try:
            sock = connection.sock
            sock.settimeout(self._seconds)
            request = b"%b%bContent-Length: %d\r\n\r\n%b" % (self._head, head, len(body), body)
            whole = _sent(sock, request)
            answer, usable = _read(sock)
            kept = whole and usable
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=self._url, error=error) from error
        except ssl.SSLError as error:
            raise SSLError(endpoint_url=self._url, error=error) from error
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionClosedError(endpoint_url=self._url, error=error) from error
        except Exception as error:
            raise HTTPClientError(error=error) from error
        finally:
            # A soft time limit may come at any place: what is half read is never kept.
            if not kept:
                connection.close()
            self._give_back(pool, connection)
        return answer

    def _idle(self, pool: Any) -> Any:
        """Take an idle connection that still stands; None: there is none."""
        try:
            connection = pool._get_conn(timeout=0)  # noqa: SLF001 - it tests the connection, too
            if type(connection) in self._kinds and isinstance(connection.sock, socket.socket):
                return connection
            self._give_back(pool, connection)
        except _DIFFERS as error:
            self._differs(error)
        except Exception:  # noqa: BLE001 - urllib3's: the pool is closed, or empty
            logger.debug("No idle connection")
        return None

    def _give_back(self, pool: Any, connection: Any) -> None:
        try:
            pool._put_conn(connection)  # noqa: SLF001 - it closes what it has no room for
        except _DIFFERS as error:
            connection.close()
            self._differs(error)

    def _wrapped(self) -> bool:
        """Whether somebody has wrapped what is left out here: he is to see every request."""
        send = getattr(type(self._session).send, "__globals__", {})
        urlopen = getattr(type(self._pool).urlopen, "__globals__", {})
        return (
            send.get("__name__") != "botocore.httpsession"
            or urlopen.get("__name__") != "urllib3.connectionpool"
            or "send" in vars(self._session)
            or "urlopen" in vars(self._pool)
        )

    def _differs(self, error: Exception) -> None:
        self._pool = None
        logger.warning(
            "Requests go by botocore's session, which costs more: this release differs (%s)",
            type(error).__name__,
        )


def _sent(sock: socket.socket, request: bytes) -> bool:
    """Send a request; False where nobody reads it: what is too large is answered before its end."""
    try:
        sock.sendall(request)
    except BrokenPipeError:
        return False
    return True


def _read(sock: socket.socket) -> tuple[HttpAnswer, bool]:
    """Return an answer, and whether the connection can be used again."""
    found = sock.recv(_CHUNK)
    if not found:
        raise http.client.RemoteDisconnected("the connection was closed without an answer")
    while (end := found.find(b"\r\n\r\n")) < 0 and len(found) < MAX_HEAD:
        more = sock.recv(_CHUNK)
        if not more:
            raise http.client.RemoteDisconnected("the connection was closed within a head")
        found += more
    known = _plain_head(found[:end]) if end >= 0 else None
    if known is None:
        return _unusual(sock, found), False
    status, headers, length = known
    begin = end + 4
    if len(found) - begin < length:
        parts = [found[begin:]]
        missing = length - len(parts[0])
        while missing > 0:
            more = sock.recv(min(missing, _CHUNK))
            if not more:
                raise http.client.IncompleteRead(b"", missing)
            parts.append(more)
            missing -= len(more)
        content = b"".join(parts)
    else:
        content = found[begin : begin + length]
    # What came beyond its length is nobody's.
    surplus = len(found) > begin + length
    closing = surplus or headers.get("connection", "keep-alive").lower() != "keep-alive"
    return HttpAnswer(status, headers, content), not closing


def _plain_head(head: bytes) -> tuple[int, dict[str, str], int] | None:
    """Return status, headers and length; None where the answer is of no plain form."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status = rest[:3]
    plain = version == "HTTP/1.1" and len(status) == 3 and status.isdigit() and status >= "200"
    if not plain or rest[3:4] not in {"", " "} or status in {"204", "304"}:
        return None
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        # Folded, or without a name; or a length said twice.
        if (
            not colon
            or not name
            or name[0] in " \t"
            or (name in headers and name[:8] == "content-")
        ):
            return None
        headers[name] = value.strip(" \t")
    length = headers.get("content-length", "")
    if "transfer-encoding" in headers or not (length.isascii() and length.isdigit()):
        return None
    return int(status), headers, int(length)


class _Rest(io.RawIOBase):
    """What was read of an answer, and then what comes."""

    def __init__(self, found: bytes, sock: socket.socket) -> None:
        super().__init__()
        self._found = memoryview(found)
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._found:
            return self._sock.recv_into(buffer)
        taken = self._found[: len(buffer)]
        buffer[: len(taken)] = taken
        self._found = self._found[len(taken) :]
        return len(taken)


class _Stream:
    """As much of a socket as `http.client.HTTPResponse` asks for."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(self._raw)


def _unusual(sock: socket.socket, found: bytes) -> HttpAnswer:
    """Read an answer of any form with the standard library: chunks, interim answers, no length."""
    stream: Any = _Stream(_Rest(found, sock))
    response = http.client.HTTPResponse(stream, method="POST")
    try:
        response.begin()
        content = response.read()
    finally:
        response.close()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return HttpAnswer(response.status, headers, content)
