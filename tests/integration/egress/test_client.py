"""The client against real sockets that behave badly."""

from __future__ import annotations

import contextlib
import gzip
import ipaddress
import re
import socket
import threading
import time
import traceback
from types import SimpleNamespace

import pytest

from sealwax.egress import (
    DownstreamGarbage,
    DownstreamStatus,
    DownstreamTimeout,
    DownstreamUnreachable,
    HttpRule,
    OutgoingClient,
    OutgoingRefused,
)
from sealwax.egress.resolve import SystemResolver
from sealwax.job import LeaseLost

CANARY = "kanari-7f3a"


class Server:
    """Accepts connections, reads one request's head, lets `answer` do the rest."""

    def __init__(self, answer, family=socket.AF_INET):
        self._answer = answer
        self.requests = []
        host = "127.0.0.1" if family == socket.AF_INET else "::1"
        self._socket = socket.create_server((host, 0), family=family)
        self.port = self._socket.getsockname()[1]
        self.stopping = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection):
        with connection, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = connection.recv(65_536)
                if not data:
                    return
                head += data
            head, _, body = head.partition(b"\r\n\r\n")
            length = re.search(rb"Content-Length: ([0-9]+)", head)
            # Closing with unread data would cut the answer off, too.
            while length and len(body) < min(int(length[1]), 1_000):
                body += connection.recv(65_536)
            self.requests.append(head)
            self._answer(connection, self)

    def close(self):
        self.stopping.set()
        self._socket.close()


@pytest.fixture
def serve():
    made = []

    def start(answer):
        made.append(Server(answer if callable(answer) else lambda c, _: c.sendall(answer)))
        return made[-1]

    yield start
    for server in made:
        server.close()


def rule(server, **fields):
    return HttpRule.model_validate(
        {"cidrs": ["127.0.0.0/8"], "schemes": ["http"], "ports": [server.port]}
        | {"connect": 10, "read": 10, "total": 20}
        | fields
    )


def send(server, client=None, method="POST", **fields):
    request = {key: fields.pop(key) for key in ("job", "read_body", "headers") if key in fields}
    return (client or OutgoingClient()).request(
        method,
        f"http://127.0.0.1:{server.port}/{CANARY}?{CANARY}",
        rule=rule(server, **fields),
        body=CANARY.encode() if method == "POST" else None,
        **request,
    )


def drip(data, pause=0.05):
    def answer(connection, server):
        for byte in data:
            connection.sendall(bytes([byte]))
            if server.stopping.wait(pause):
                return

    return answer


def test_an_answer_arrives_whole(serve):
    server = serve(b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\nX-A: b\r\n\r\n{"a": 1}')
    answer = send(server)
    assert (answer.status, answer.json(), answer.headers["x-a"]) == (200, {"a": 1}, "b")
    assert f"Host: 127.0.0.1:{server.port}".encode() in server.requests[0]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("headers", b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 500),
        ("body", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"a" * 500),
        ("chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 99),
    ],
)
def test_a_dripping_answer_ends_at_the_total_time(serve, name, data):
    server = serve(drip(data))
    started = time.monotonic()
    with pytest.raises(DownstreamTimeout):
        send(server, connect=1, read=0.5, total=1)
    assert 0.9 < time.monotonic() - started < 8  # the whole answer takes far longer


def test_silence_ends_at_the_read_time(serve):
    server = serve(lambda _, server: server.stopping.wait(10))
    started = time.monotonic()
    with pytest.raises(DownstreamTimeout):
        send(server, connect=9, read=0.3, total=9)
    assert time.monotonic() - started < 8  # the server waits for 10


def test_a_receiver_that_does_not_read_ends_at_the_total_time(serve):
    server = serve(lambda _, server: server.stopping.wait(10))
    started = time.monotonic()
    with pytest.raises(DownstreamTimeout):
        OutgoingClient().request(
            "POST",
            f"http://127.0.0.1:{server.port}/",
            rule=rule(server, connect=1, read=5, total=1),
            body=b"x" * 30_000_000,
        )
    assert time.monotonic() - started < 8  # the server waits for 10


def test_a_status_is_enough_where_the_body_is_not_read(serve):
    server = serve(drip(b"HTTP/1.1 202 OK\r\nContent-Length: 9999\r\n\r\n" + b"a" * 500, 0.002))
    assert send(server, read_body=False).status == 202


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304, 300])
def test_redirects_are_refused_and_not_followed(serve, status):
    other = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    location = f"Location: http://127.0.0.1:{other.port}/\r\n"
    server = serve(f"HTTP/1.1 {status} X\r\n{location}Content-Length: 0\r\n\r\n".encode())
    with pytest.raises(OutgoingRefused) as caught:
        send(server)
    assert caught.value.reason == "redirect-refused"
    assert other.requests == []


def test_an_error_status_carries_its_wait(serve):
    server = serve(b"HTTP/1.1 503 X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(DownstreamStatus) as caught:
        send(server)
    assert (caught.value.status, caught.value.transient, caught.value.retry_after) == (503, True, 7)


def test_a_refused_connection_is_unreachable():
    with socket.socket() as bound:
        # Bound but not listening: nobody else can take the port.
        bound.bind(("127.0.0.1", 0))
        server = SimpleNamespace(port=bound.getsockname()[1])
        with pytest.raises(DownstreamUnreachable) as caught:
            send(server)
    assert caught.value.cause == "downstream-unreachable"


def test_a_cut_connection_is_transient(serve):
    server = serve(lambda *_: None)
    with pytest.raises(DownstreamUnreachable) as caught:
        send(server)
    assert caught.value.cause == "downstream-reset"


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03not http\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
def test_garbage_is_named_so(serve, data):
    with pytest.raises(DownstreamGarbage):
        send(serve(data))


def test_a_body_at_the_bound_is_read_and_one_byte_more_is_not(serve):
    server = serve(b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 1_000)
    assert len(send(server, max_response_bytes=1_000).body) == 1_000
    with pytest.raises(DownstreamGarbage) as caught:
        send(server, max_response_bytes=999)
    assert caught.value.cause == "downstream-too-large"


@pytest.mark.parametrize("size", [1_000, 50_000_000])
def test_compressed_bodies_are_bounded_after_decompression(serve, size):
    data = gzip.compress(b"a" * size)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(data)}\r\n\r\n"
    server = serve(head.encode() + data)
    if size == 1_000:
        assert send(server, max_response_bytes=1_000).body == b"a" * size
    else:
        with pytest.raises(DownstreamGarbage) as caught:
            send(server)
        assert caught.value.cause == "downstream-too-large"


def test_the_connection_goes_to_the_address_that_was_checked(serve):
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    asked = []

    def resolver(host, port, seconds):
        # Rebinding: allowed at first, the metadata service ever after.
        asked.append(host)
        return [ipaddress.ip_address("127.0.0.1" if len(asked) == 1 else "169.254.169.254")]

    client = OutgoingClient(resolver=resolver)
    url = f"http://rebound.example:{server.port}/"
    assert client.request("GET", url, rule=rule(server)).status == 200
    assert asked == ["rebound.example"]
    assert f"Host: rebound.example:{server.port}".encode() in server.requests[0]
    with pytest.raises(OutgoingRefused):
        client.request("GET", url, rule=rule(server))


def test_one_forbidden_address_forbids_the_name(serve):
    server = serve(b"")
    both = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("10.0.0.1")]
    client = OutgoingClient(resolver=lambda *_: both)
    with pytest.raises(OutgoingRefused) as caught:
        client.request("GET", f"http://two.example:{server.port}/", rule=rule(server))
    assert caught.value.reason == "address-refused"
    assert server.requests == []


def test_a_listed_name_does_not_open_loopback(serve):
    server = serve(b"")
    with pytest.raises(OutgoingRefused) as caught:
        OutgoingClient().request(
            "GET",
            f"http://localhost:{server.port}/",
            rule=rule(server, cidrs=[], hosts=["localhost"]),
        )
    assert caught.value.reason == "address-refused"


def test_a_second_address_is_tried_where_the_first_refuses(serve):
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    both = [ipaddress.ip_address("127.0.0.2"), ipaddress.ip_address("127.0.0.1")]
    client = OutgoingClient(resolver=lambda *_: both)
    assert (
        client.request("GET", f"http://two.example:{server.port}/", rule=rule(server)).status == 200
    )


def test_a_resolver_that_hangs_ends_in_time_and_threads_are_bounded():
    held = threading.Event()
    resolver = SystemResolver(lookups=2, getaddrinfo=lambda *_, **__: held.wait(10))
    client = OutgoingClient(resolver=resolver)
    fields = {"hosts": ("slow.example",), "connect": 0.1}
    causes = []
    for _ in range(3):
        with pytest.raises((DownstreamTimeout, DownstreamUnreachable)) as caught:
            client.request("GET", "https://slow.example/", rule=HttpRule(**fields))
        causes.append(caught.value.cause)
    held.set()
    assert causes == ["downstream-timeout", "downstream-timeout", "downstream-unresolved"]


def test_an_unknown_name_is_transient():
    def resolver(*_):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with pytest.raises(DownstreamUnreachable) as caught:
        OutgoingClient(resolver=resolver).request(
            "GET", "https://no.example/", rule=HttpRule(hosts=("no.example",))
        )
    assert caught.value.cause == "downstream-unresolved"


def test_the_environment_has_no_say(serve, monkeypatch, tmp_path):
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert send(server).status == 200
    assert b"Authorization" not in server.requests[0]


def test_a_proxy_of_the_rule_gets_the_request(serve):
    proxy = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    outgoing = HttpRule.model_validate(
        {
            "hosts": ["hooks.example"],
            "schemes": ["http", "https"],
            "proxy": f"http://127.0.0.1:{proxy.port}",
        }
    )
    assert OutgoingClient().request("GET", "http://hooks.example/x", rule=outgoing).status == 200
    assert proxy.requests[0].startswith(b"GET http://hooks.example/x HTTP/1.1\r\n")
    with pytest.raises(DownstreamUnreachable):
        OutgoingClient().request("GET", "https://hooks.example/x", rule=outgoing)
    assert proxy.requests[1].startswith(b"CONNECT hooks.example:443 HTTP/1.")
    assert b"/x" not in proxy.requests[1]


def test_a_plain_server_behind_https_is_a_tls_failure(serve):
    server = serve(b"HTTP/1.1 200 OK\r\n\r\n")

    # What arrives is no HTTP head, so this one answers at the first byte.
    def answer(connection):
        with connection, contextlib.suppress(OSError):
            connection.recv(1)
            connection.sendall(b"HTTP/1.1 400 X\r\n\r\n")

    server._handle = answer
    with pytest.raises(DownstreamUnreachable) as caught:
        OutgoingClient().request(
            "GET",
            f"https://127.0.0.1:{server.port}/",
            rule=rule(server, schemes=["https"]),
        )
    assert caught.value.cause == "downstream-tls"


def test_a_handshake_that_hangs_ends_at_the_connect_time(serve):
    server = serve(b"")

    def hold(connection):
        with connection:
            server.stopping.wait(10)

    server._handle = hold
    started = time.monotonic()
    with pytest.raises(DownstreamTimeout):
        OutgoingClient().request(
            "GET",
            f"https://127.0.0.1:{server.port}/",
            rule=rule(server, schemes=["https"], connect=0.4, read=9, total=9),
        )
    assert time.monotonic() - started < 8  # the server waits for 10


class LeaseCheck:
    def __init__(self, error=None):
        self.calls, self._error = 0, error

    def check(self):
        self.calls += 1
        if self._error:
            raise self._error


def test_the_job_is_checked_before_each_request(serve):
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    job = LeaseCheck()
    hosts: list[str] = []
    send(server, client=OutgoingClient(before_request=hosts.append), job=job)
    assert (job.calls, hosts) == (1, ["127.0.0.1"])
    with pytest.raises(LeaseLost):
        send(server, job=LeaseCheck(LeaseLost()))
    assert len(server.requests) == 1


@pytest.mark.parametrize("value", ["a\r\nX-Evil: b", "a\nb", " a"])
def test_headers_cannot_be_split(serve, value):
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(OutgoingRefused) as caught:
        send(server, headers={"X-Event": value})
    assert caught.value.reason == "header-invalid"
    assert server.requests == []


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 X\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 X\r\nLocation: /kanari-7f3a\r\nContent-Length: 0\r\n\r\n",
        b"kanari-7f3a\r\n\r\n",
        b"HTTP/1.1 200 kanari-7f3a\r\nContent-Length: 9\r\n\r\nkanari",
        b"",
    ],
)
def test_no_error_holds_path_query_header_or_body(serve, data):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each of them
        send(serve(data), headers={"X-Secret": CANARY})
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    last = traceback.format_exception_only(error)
    assert CANARY not in "".join(last) + repr(error) + repr(vars(error))


def test_many_threads_share_one_client(serve):
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    client, bodies = OutgoingClient(), []
    threads = [
        threading.Thread(target=lambda: bodies.append(send(server, client, total=20, read=20).body))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies == [b"ok"] * 20
