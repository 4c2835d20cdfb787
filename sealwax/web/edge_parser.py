"""What the edge makes of the bytes of a request, before it is one; and its refusals.

waitress's parser reads. Here it is held to limits, refuses what two servers could
read in two ways, and answers early what needs no body to be refused.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser

from sealwax.settings import WebSettings
from sealwax.web.problems import PREFIX, PROBLEMS

__all__ = [
    "FRAMING",
    "HEADERS",
    "EdgeLimits",
    "LaterRequest",
    "Refusal",
    "RequestParser",
]

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
    429: "rate-limited",
    431: "headers-too-large",
    500: "internal-error",
    503: "edge-busy",
}


@dataclass(frozen=True)
class Refusal:
    """An answer given without the application; `retry_after` in seconds, 0: by its status."""

    code: int
    retry_after: int = 0

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
        if kind.status in (429, 503):
            headers.append(("Retry-After", str(self.retry_after or 1)))
        return f"{kind.status} {kind.title}", headers, json.dumps(body).encode()

    def message(self) -> bytes:
        """Return the whole HTTP response, after which the connection closes."""
        status, headers, body = self.document()
        headers += [("Connection", "close"), ("Content-Length", str(len(body)))]
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), "", ""]
        return "\r\n".join(lines).encode("latin-1") + body


class EdgeLimits(Adjustments):
    """waitress's adjustments, and ours."""

    def __init__(self, web: WebSettings, body_bytes: int, **kw: Any) -> None:
        super().__init__(**kw)
        self.web = web
        self.body_bytes = body_bytes


class RequestParser(HTTPRequestParser):
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
        self.error = Refusal(code)
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
                self.error, self.completed = Refusal(400), True
            elif len(body) > self.adj.body_bytes:
                self.error, self.completed = Refusal(413), True
        return consumed


class LaterRequest(RequestParser):
    """What was sent behind a request: kept as it came until that one's answer is on its way.

    Parsed at once, a few kilobytes would be hundreds of requests, and their answers,
    which nobody need read, would fill the memory and then hold the thread.
    """

    def __init__(self, adj: EdgeLimits) -> None:
        super().__init__(adj)
        self.kept = b""

    def received(self, data: bytes) -> int:
        """Take all."""
        self.kept += data
        return len(data)
