"""A boto3 client whose HTTP session is in the test's hands: what is sent, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config

__all__ = ["PASSING", "HttpSession", "Raw", "headers", "make_client", "session"]

#: New with every request, or of its time.
PASSING = {"amz-sdk-invocation-id", "amz-sdk-request", "x-amz-date", "authorization"}


class Raw:
    """The body of an answer."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        yield self._body


class HttpSession:
    """Stands where the client's HTTP session stands; keeps requests, gives what it is told."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.status, self.body = 200, b"{}"
        self.headers: dict[str, str] = {"content-type": "application/x-amz-json-1.0"}

    def send(self, request: Any) -> AWSResponse:
        self.requests.append(request)
        return AWSResponse(request.url, self.status, self.headers, Raw(self.body))


@cache
def session() -> boto3.Session:
    """Return a session: it keeps the models it has read."""
    return boto3.Session("AKID", "s", "t", region_name="eu-west-1")


def make_client(service: str, **options: Any) -> tuple[Any, HttpSession, list[str]]:
    """Return a client, its HTTP session, and what is sent by `before-send`."""
    settings = {"parameter_validation": False, "retries": {"total_max_attempts": 1}}
    config = Config(**settings, **options.pop("config", {}))
    client = session().client(service, config=config, **options)
    http = HttpSession()
    client._endpoint.http_session = http
    sent: list[str] = []

    def note(event_name: str, **_: Any) -> None:
        sent.append(event_name)

    client.meta.events.register("before-send", note)
    return client, http, sent


def headers(request: Any, *, passing: bool = False) -> dict[str, str]:
    """Return a request's headers by lower-case name, without those that are new each time."""
    found = {
        name.lower(): value.decode() if isinstance(value, bytes) else value
        for name, value in request.headers.items()
    }
    found.pop("content-length", None)  # the HTTP client's to say
    return {name: value for name, value in found.items() if passing or name not in PASSING}
