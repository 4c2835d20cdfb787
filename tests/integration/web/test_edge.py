"""The server around the app: its deadlines and caps, each at its edge."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from functools import partial

import pytest
from support.edge import BEARER, LIMIT, Running, answer, drip_until_closed, head, run
from support.waiting import wait_for

__all__ = ["run"]


def has(running: Running, connections: int) -> bool:
    return len(running.edge.active_channels) == connections


def is_closed(peer: socket.socket) -> bool:
    with contextlib.suppress(ConnectionError):
        return peer.recv(1) == b""
    return True


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


def test_a_caller_over_its_limit_is_refused_without_the_application(run) -> None:
    running = run()
    waits = {"Bearer loud": 7}
    running.edge.early = waits.get
    post = ("POST /v1/jobs HTTP/1.1", "Host: a", "Content-Type: application/json")
    body = b"[" * 20
    loud = head(*post, "Authorization: Bearer loud", f"Content-Length: {len(body)}") + body
    with running.connect() as peer:
        # The connection stays: reconnecting would cost more than the refusal.
        for _ in range(2):
            peer.sendall(loud)
            status, text, document = answer(peer)
            assert (status, json.loads(document)["type"].rpartition(":")[2]) == (
                429,
                "rate-limited",
            )
            assert "Retry-After: 7" in text
        assert not running.paths
        assert running.edge.refused == 2
        peer.sendall(head("GET /v1/jobs HTTP/1.1", "Host: a", "Authorization: Bearer calm"))
        assert answer(peer)[0] == 200
        # What is outside of the API's routes has limits of its own.
        peer.sendall(head("GET /ops HTTP/1.1", "Host: a", "Authorization: Bearer loud"))
        assert answer(peer)[0] == 200
    assert running.edge.refused == 2
