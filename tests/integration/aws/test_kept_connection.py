"""A request on a kept connection is the session's own request, and its answer the session's."""

from __future__ import annotations

import inspect
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, HeadersDict
from botocore.exceptions import (
    ConnectionClosedError,
    HTTPClientError,
    ReadTimeoutError,
)
from botocore.httpsession import URLLib3Session

from sealwax.aws.kept_connection import KeptConnections

HEADERS = {"x-amz-target": "A.B", "user-agent": "tests"}
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Amz-Crc32: 7\r\n\r\n{}"


class Server:
    """Answers as it is told, one list of bytes a request; keeps what it was sent."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.answers: list[list[bytes]] = []
        self.close_after = False
        self.hold = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.url = f"http://{self.host}/"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                taken, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(taken,), daemon=True).start()

    def _serve(self, taken: socket.socket) -> None:
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The other end may go at any moment.
        with taken, suppress(OSError):
            while (request := _request(taken)) is not None:
                self.requests.append(request)
                pieces = self.answers.pop(0) if self.answers else [PLAIN]
                closing = self.close_after
                if not pieces:
                    self.hold.wait(30)
                for piece in pieces:
                    taken.sendall(piece)
                if closing:
                    return

    def close(self) -> None:
        self.hold.set()
        self._socket.close()


def _request(taken: socket.socket) -> bytes | None:
    found = b""
    while b"\r\n\r\n" not in found:
        more = taken.recv(65_536)
        if not more:
            return None
        found += more
    head, _, body = found.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += taken.recv(65_536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    # Other tests of this process may watch what botocore sends.
    monkeypatch.setattr(URLLib3Session, "send", inspect.unwrap(URLLib3Session.send))
    made = Server()
    yield made
    made.close()


def by_session(session: URLLib3Session, url: str, headers: dict[str, str], body: bytes) -> Any:
    made = HeadersDict({name: value.encode() for name, value in headers.items()})
    return session.send(AWSPreparedRequest("POST", url, made, body, stream_output=False))


@contextmanager
def kept(server: Server, **options: Any) -> Iterator[tuple[KeptConnections, URLLib3Session]]:
    """Yield connections of which one is idle."""
    session = URLLib3Session(**{"timeout": 20, "max_pool_connections": 4, **options})
    by_session(session, server.url, HEADERS, b"first")
    server.requests.clear()
    try:
        yield KeptConnections(session, server.url, server.host), session
    finally:
        session.close()


def lines(request: bytes) -> tuple[bytes, set[bytes], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *rest = head.split(b"\r\n")
    return first, {line.lower() for line in rest}, body


def test_the_request_says_what_the_sessions_own_says(server: Server) -> None:
    with kept(server) as (connections, session):
        answer = connections.exchange(HEADERS, b'{"a": 1}')
        by_session(session, server.url, HEADERS, b'{"a": 1}')

    assert answer is not None
    assert (answer.status_code, answer.content) == (200, b"{}")
    assert answer.headers["x-amz-crc32"] == "7"
    assert lines(server.requests[0]) == lines(server.requests[1])
    assert server.connections == 1


def test_nothing_is_sent_where_no_connection_is_idle(server: Server) -> None:
    session = URLLib3Session(timeout=20)
    connections = KeptConnections(session, server.url, server.host)

    assert connections.exchange(HEADERS, b"x") is None
    assert server.connections == 0
    by_session(session, server.url, HEADERS, b"x")
    assert connections.exchange(HEADERS, b"y") is not None
    session.close()


@pytest.mark.parametrize(
    ("pieces", "status", "content"),
    [
        ([PLAIN[:9], PLAIN[9:40], PLAIN[40:-1], PLAIN[-1:]], 200, b"{}"),
        ([b"HTTP/1.1 400 Bad\r\ncontent-length:3\r\n\r\nabc"], 400, b"abc"),
        ([b"HTTP/1.1 500\r\nContent-Length: 0\r\n\r\n"], 500, b""),
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{", b"}\r\n0\r\n\r\n"],
            200,
            b"{}",
        ),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", PLAIN], 200, b"{}"),
        ([b"HTTP/1.1 204 None\r\n\r\n"], 204, b""),
        ([b"HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\nContent-Length: 1\r\n\r\n{"], 200, b"{"),
        (
            [b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n", b"x" * 200_000],
            200,
            b"x" * 200_000,
        ),
    ],
)
def test_answers_of_every_form_are_read(
    server: Server, pieces: list[bytes], status: int, content: bytes
) -> None:
    with kept(server) as (connections, _):
        server.answers = [pieces]
        answer = connections.exchange(HEADERS, b"x")

    assert answer is not None
    assert (answer.status_code, answer.content) == (status, content)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        PLAIN + PLAIN,
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}!",
    ],
    ids=["said so", "two answers", "1.0", "two lengths"],
)
def test_a_connection_of_which_more_may_come_is_not_kept(server: Server, answer: bytes) -> None:
    """What would be the next request's answer is another's."""
    with kept(server) as (connections, _):
        server.answers = [[answer]]
        assert connections.exchange(HEADERS, b"x") is not None
        assert connections.exchange(HEADERS, b"y") is None
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 200 OK\r\nContent-"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"],
        [b"garbage\r\n\r\n"],
        [b""],
    ],
    ids=["half a head", "half a body", "no HTTP", "nothing"],
)
def test_what_is_cut_off_is_a_closed_connection(server: Server, pieces: list[bytes]) -> None:
    with kept(server) as (connections, _):
        server.answers, server.close_after = [pieces], True
        with pytest.raises(ConnectionClosedError):
            connections.exchange(HEADERS, b"x")
        assert connections.exchange(HEADERS, b"x") is None


def test_an_answer_that_does_not_come_is_a_time_out(server: Server) -> None:
    with kept(server, timeout=0.2) as (connections, _):
        server.answers = [[]]
        with pytest.raises(ReadTimeoutError):
            connections.exchange(HEADERS, b"x")
        # The late answer would be the next request's.
        assert connections.exchange(HEADERS, b"x") is None


def test_whatever_else_interrupts_it_closes_the_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A soft time limit is raised by a signal, wherever the process is."""

    class Limit(Exception):
        pass

    def interrupted(_: Any) -> Any:
        raise Limit

    with kept(server) as (connections, _):
        with monkeypatch.context() as patch:
            patch.setattr("sealwax.aws.kept_connection._read", interrupted)
            with pytest.raises(HTTPClientError) as caught:
                connections.exchange(HEADERS, b"x")
        assert isinstance(caught.value.__cause__, Limit)
        assert connections.exchange(HEADERS, b"x") is None


def test_a_connection_that_the_server_has_closed_is_not_used(server: Server) -> None:
    server.close_after = True
    with kept(server) as (connections, session):
        pool: Any = session._manager.connection_from_url(server.url)
        idle = pool.pool.queue[-1]
        idle.sock.settimeout(20)
        assert idle.sock.recv(1, socket.MSG_PEEK) == b""  # it has heard of it

        assert connections.exchange(HEADERS, b"x") is None


def test_a_value_with_a_line_break_is_the_sessions_to_refuse(server: Server) -> None:
    with kept(server) as (connections, _):
        assert connections.exchange({"x-a": "1\r\nx-b: 2"}, b"x") is None
        assert connections.exchange({"x-a": "1\nx-b: 2"}, b"x") is None
        assert server.requests == []


def test_requests_by_a_proxy_are_the_sessions(server: Server) -> None:
    with kept(server, proxies={"http": server.url}) as (connections, _):
        assert connections.exchange(HEADERS, b"x") is None


@pytest.mark.parametrize("whose", ["session", "pool"])
def test_who_wraps_the_sessions_way_sees_every_request(
    server: Server, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    from urllib3 import HTTPConnectionPool

    def traced(*_: Any, **__: Any) -> Any:
        raise AssertionError

    with kept(server) as (connections, _):
        wrapped: dict[str, tuple[Any, str]] = {
            "session": (URLLib3Session, "send"),
            "pool": (HTTPConnectionPool, "urlopen"),
        }
        with monkeypatch.context() as patch:
            patch.setattr(*wrapped[whose], traced)
            assert connections.exchange(HEADERS, b"x") is None
        assert connections.exchange(HEADERS, b"x") is not None


@pytest.mark.parametrize("name", ["_get_conn", "_put_conn"])
def test_a_pool_that_differs_leaves_all_to_the_session(
    server: Server, monkeypatch: pytest.MonkeyPatch, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    from urllib3 import HTTPConnectionPool

    with kept(server) as (connections, _):
        monkeypatch.delattr(HTTPConnectionPool, name)
        connections.exchange(HEADERS, b"x")
        monkeypatch.undo()

        assert connections.exchange(HEADERS, b"x") is None
    assert "differs" in caplog.text


def test_another_kind_of_session_keeps_none(server: Server) -> None:
    assert KeptConnections(object(), server.url, server.host).exchange(HEADERS, b"x") is None


def test_threads_share_the_connections(server: Server) -> None:
    with kept(server) as (connections, session):
        found: list[bytes] = []

        def work(n: int) -> None:
            body = b"%d" % n
            answer: Any = connections.exchange(HEADERS, body)
            found.append((answer or by_session(session, server.url, HEADERS, body)).content)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert found == [b"{}"] * 24
    assert sorted(lines(each)[2] for each in server.requests) == sorted(
        b"%d" % n for n in range(24)
    )
