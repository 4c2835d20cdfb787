"""What is read as a request, and what is refused before it is one, each limit at its edge."""

from __future__ import annotations

import json

import pytest
from support.edge import BEARER, LIMIT, answer, drip_until_closed, head, run

from sealwax.web.edge_parser import HEADER_FIELD, HEADER_FIELDS, REQUEST_LINE

__all__ = ["run"]


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
