"""The server around the app: its deadlines, caps and refusals, each at its edge."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from support.waiting import wait_for

from sealwax.settings import WebSettings
from sealwax.web.edge import HEADER_FIELD, HEADER_FIELDS, REQUEST_LINE, EdgeServer, make_edge

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


def has(running: Running, connections: int) -> bool:
    return len(running.edge.active_channels) == connections


def is_closed(peer: socket.socket) -> bool:
    with contextlib.suppress(ConnectionError):
        return peer.recv(1) == b""
    return True


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


def test_headers_that_drip_end_at_their_deadline(run) -> None:
    running = run(header_seconds=1)
    with running.connect() as peer:
        assert drip_until_closed(peer, b"X") >= 0.9
    assert running.edge.closed["deadline"] == 1
    assert not running.paths


def test_blank_lines_renew_nothing(run) -> None:
    running = run(header_seconds=1)
    with running.connect() as peer:
        drip_until_closed(peer, b"\r\n")
    assert not running.paths


def test_bodies_that_drip_end_at_their_deadline_and_reach_no_thread(run) -> None:
    running = run(body_seconds=1, header_seconds=20)
    with running.connect() as peer:
        peer.sendall(head("POST /x HTTP/1.1", "Host: a", "Content-Length: 1000"))
        drip_until_closed(peer, b"x")
    assert running.edge.closed["deadline"] == 1
    assert not running.paths


def test_a_whole_request_ends_at_its_deadline_whoever_is_slow(run) -> None:
    running = run(request_seconds=1)
    running.gate.clear()
    with running.connect() as peer:
        peer.sendall(head("GET /x HTTP/1.1", "Host: a"))
        assert running.entered.acquire(timeout=10)
        assert is_closed(peer)


def test_answers_that_nobody_reads_hold_no_thread_and_little_memory(run) -> None:
    running = run(threads=2, connections_per_address=0)
    requests = head("GET /large HTTP/1.1", "Host: a") * 200
    with contextlib.ExitStack() as peers:
        for _ in range(6):
            peer = peers.enter_context(socket.socket())
            # What the kernel holds for the peer comes on top; the less, the sooner it is full.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            peer.connect(("127.0.0.1", running.port))
            peer.sendall(requests)

        def held() -> list[int]:
            return [c.total_outbufs_len for c in list(running.edge.active_channels.values())]

        # Were two threads held until `web.request_seconds`, four peers had none.
        wait_for(lambda: len(held()) == 6 and all(held()), what="an answer for each of them")
        assert running.ask(head("GET / HTTP/1.1", "Host: a", "Connection: close"))[0] == 200
        assert max(held()) < 2 * len(running.large)


def test_requests_sent_at_once_are_answered_in_order_one_after_the_other(run) -> None:
    running = run(threads=2)
    running.gate.clear()
    post = head("POST /2 HTTP/1.1", "Host: a", BEARER, "Content-Length: 5") + b"12345"
    last = head("GET /3 HTTP/1.1", "Host: a")
    with running.connect() as peer:
        peer.sendall(head("GET /1 HTTP/1.1", "Host: a") + post + last[:-9])
        assert running.entered.acquire(timeout=20)
        assert running.paths == ["/1"]
        running.gate.set()
        assert answer(peer)[2] == b"0 bytes"
        assert answer(peer)[2] == b"5 bytes"
        peer.sendall(last[-9:])
        assert answer(peer)[2] == b"0 bytes"
    assert running.paths == ["/1", "/2", "/3"]


def test_what_follows_a_request_is_refused_after_its_answer(run) -> None:
    running = run(threads=2)
    with running.connect() as peer:
        peer.sendall(head("GET /1 HTTP/1.1", "Host: a") + head("GET /2 HTTP/2.0", "Host: a"))
        assert answer(peer)[0] == 200
        assert answer(peer)[0] == 400
        assert is_closed(peer)
    assert running.paths == ["/1"]


def test_a_connection_waits_for_its_next_request_for_so_long(run) -> None:
    running = run(keepalive_seconds=2, header_seconds=20)
    with running.connect() as peer:
        for _ in range(2):
            peer.sendall(head("GET /x HTTP/1.1", "Host: a"))
            assert answer(peer)[0] == 200
            time.sleep(0.5)
        begun = time.monotonic()
        assert is_closed(peer)
        assert time.monotonic() - begun > 1
    assert running.edge.closed["idle"] == 1


def test_so_many_connections_of_one_address_and_not_one_more(run) -> None:
    running = run(connections_per_address=3)
    peers = [running.connect() for _ in range(3)]
    wait_for(lambda: len(running.edge.active_channels) == 3, what="three connections")
    assert running.ask("GET /x HTTP/1.1")[0] == 503
    peers.pop().close()
    wait_for(lambda: len(running.edge.active_channels) == 2, what="two connections")
    peers[0].sendall(head("GET /x HTTP/1.1", "Host: a"))
    assert answer(peers[0])[0] == 200
    with running.connect() as peer:
        peer.sendall(head("GET /x HTTP/1.1", "Host: a"))
        assert answer(peer)[0] == 200
    for peer in peers:
        peer.close()


def test_without_a_cap_an_address_may_be_a_load_balancers(run) -> None:
    running = run(connections_per_address=0, connections=300)
    peers = [running.connect() for _ in range(150)]
    wait_for(lambda: len(running.edge.active_channels) == 150, what="all connections")
    for peer in peers:
        peer.close()


def test_at_the_cap_in_all_the_one_that_drips_longest_makes_room(run) -> None:
    running = run(connections=5, connections_per_address=0)
    drips = []
    for number in range(5):
        drips.append(running.connect())
        drips[-1].sendall(b"GET /x HTTP/1.1\r\n")
        wait_for(partial(has, running, number + 1), what="one more")
    with running.connect() as peer:
        peer.sendall(head("GET /x HTTP/1.1", "Host: a"))
        assert answer(peer)[0] == 200
    assert running.edge.closed["evicted"] == 1
    assert answer(drips[0])[0] == 503
    drips[4].sendall(b"Host: a\r\n\r\n")
    assert answer(drips[4])[0] == 200
    for peer in drips:
        peer.close()


def test_at_the_cap_in_all_answers_that_nobody_reads_make_room(run) -> None:
    running = run(threads=2, connections=3, connections_per_address=0)
    running.large = b"x" * 16_000_000  # more than the kernel takes
    with contextlib.ExitStack() as peers:
        for _ in range(3):
            peer = peers.enter_context(running.connect())
            peer.sendall(head("GET /large HTTP/1.1", "Host: a"))
        edge = running.edge

        def unread() -> list[bool]:
            channels = list(edge.active_channels.values())
            return [bool(c.total_outbufs_len and not c.requests) for c in channels]

        wait_for(lambda: unread() == [True] * 3, what="answers nobody takes")
        assert running.ask(head("GET / HTTP/1.1", "Host: a", "Connection: close"))[0] == 200
        assert edge.closed["evicted"] == 1


def test_over_the_bytes_held_the_largest_incomplete_body_goes(run) -> None:
    running = run(buffered_bytes=65_536, connections_per_address=0)
    peers = []
    for _ in range(40):  # 40 times 4,000 bytes that wait for their last 96
        peer = running.connect()
        peer.sendall(head("POST /x HTTP/1.1", "Host: a", f"Content-Length: {LIMIT}") + b"x" * 4_000)
        peers.append(peer)
    wait_for(lambda: running.edge.closed["buffered"] >= 20, what="refusals")
    held = sum(channel.held for channel in list(running.edge.active_channels.values()))
    assert held <= 65_536 + 65_536 // 4 + 8_192
    # A small one is no victim.
    small = head("POST /x HTTP/1.1", "Host: a", "Content-Length: 3") + b"abc"
    assert running.ask(small)[2] == b"3 bytes"
    for peer in peers:
        peer.close()


@pytest.mark.parametrize(
    ("lines", "status", "name"),
    [
        (["POST /v1/jobs HTTP/1.1", "Host: a"], 401, "unauthenticated"),
        (["POST /v1/jobs HTTP/1.1", "Host: a", "Authorization: Basic x"], 401, "unauthenticated"),
        (["POST /v1/jobs HTTP/1.1", "Host: a", BEARER, "Content-Type: text/plain"], 415,
         "unsupported-media-type"),
        (["POST /v1/jobs HTTP/1.1", "Host: a", BEARER], 415, "unsupported-media-type"),
    ],
)  # fmt: skip
def test_what_needs_no_body_is_refused_before_it(run, lines, status: int, name: str) -> None:
    running = run()
    with running.connect() as peer:
        peer.sendall(head(*lines, "Content-Length: 1000"))
        code, top, body = answer(peer)
        assert code == status
        assert "connection: close" in top.lower()
        assert json.loads(body)["type"] == f"urn:sealwax:problem:{name}"
        # What still comes is drained by no thread, and for two seconds at most.
        drip_until_closed(peer, b"x")
    assert not running.paths


def test_a_length_over_the_limit_is_refused_before_the_body_and_one_at_it_is_read(run) -> None:
    running = run()
    refused = head("POST /x HTTP/1.1", "Host: a", f"Content-Length: {LIMIT + 1}")
    assert running.ask(refused)[0] == 413
    taken = head("POST /x HTTP/1.1", "Host: a", f"Content-Length: {LIMIT}") + b"x" * LIMIT
    assert running.ask(taken)[2] == b"%d bytes" % LIMIT


@pytest.mark.parametrize(
    ("chunks", "size", "status"),
    [
        ([b"x" * LIMIT], LIMIT, 200),
        ([b"x" * LIMIT, b"y"], LIMIT + 1, 413),
        ([b"x"] * 500, 500, 200),
    ],
)
def test_a_chunked_body_is_counted_as_it_comes(run, chunks, size: int, status: int) -> None:
    running = run()
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    code, _, text = running.ask(
        head("POST /x HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + body
    )
    assert code == status
    assert status != 200 or text == b"%d bytes" % size


SMUGGLED = {
    "both lengths": ["Content-Length: 3", "Transfer-Encoding: chunked"],
    "two lengths": ["Content-Length: 3", "Content-Length: 3"],
    "no length": ["Content-Length: +3"],
    "chunked twice": ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    "no coding": ["Transfer-Encoding: "],
    "folded": ["X-A: a", " b"],
    "underscore": ["Content_Length: 3"],
    "two hosts": ["Host: b"],
    "space before the colon": ["Content-Length : 3"],
    "two keys": ["Idempotency-Key: a", "Idempotency-Key: b"],
    "two tokens": [BEARER, BEARER],
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_what_two_servers_could_read_in_two_ways_is_refused(run, name: str) -> None:
    running = run()
    with running.connect() as peer:
        peer.sendall(head("POST /x HTTP/1.1", "Host: a", *SMUGGLED[name]) + b"0\r\n\r\nGET /y ")
        code, top, body = answer(peer)
    assert code == 400
    assert "connection: close" in top.lower()
    assert json.loads(body)["type"] == "urn:sealwax:problem:malformed-request"
    assert not running.paths


@pytest.mark.parametrize("first", ["GET /x HTTP/1.1", "GET /x", "GET /x HTTP/2.0"])
def test_a_request_has_a_host_and_a_version_that_is_known(run, first: str) -> None:
    assert run().ask(first)[0] == 400


def test_request_line_and_headers_have_their_limits_at_the_edge(run) -> None:
    running = run()
    line = "GET /" + "x" * (REQUEST_LINE - len("GET / HTTP/1.1")) + " HTTP/1.1"
    assert len(line) == REQUEST_LINE
    field = "X-A: " + "x" * (HEADER_FIELD - len("X-A: "))
    many = [f"X-{number}: 1" for number in range(HEADER_FIELDS - 1)]
    for lines in ([line, "Host: a"], ["GET / HTTP/1.1", "Host: a", field],
                  ["GET / HTTP/1.1", "Host: a", *many]):  # fmt: skip
        assert running.ask(head(*lines))[0] == 200, lines[0][:20]
    for lines in ([line.replace("/x", "/xx", 1), "Host: a"],
                  ["GET / HTTP/1.1", "Host: a", field + "x"],
                  ["GET / HTTP/1.1", "Host: a", *many, "X-More: 1"]):  # fmt: skip
        assert running.ask(head(*lines))[0] == 431, lines[0][:20]


def test_a_stop_lets_requests_end_and_takes_no_more(run) -> None:
    running = run()
    running.gate.clear()
    idle, peer = running.connect(), running.connect()
    peer.sendall(head("GET /x HTTP/1.1", "Host: a"))
    assert running.entered.acquire(timeout=10)
    running.stop()
    assert is_closed(idle)
    with pytest.raises(ConnectionError):
        running.connect()
    running.gate.set()
    code, top, _ = answer(peer)
    assert code == 200
    assert "connection: close" in top.lower()
    idle.close()
    peer.close()
