"""The client for outgoing HTTP: one per process, safe for threads.

Called by tasks and enrichers. It resolves a name once, checks every address,
connects to what it checked, keeps the deadline to the last byte, and turns
whatever happens into one of `sealwax.egress.errors`. It must never follow a
redirect, read proxies or credentials from the environment, or let a path, a
query, a header or a body into an error's text.
"""

from __future__ import annotations

import functools
import json
import os
import ssl
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import certifi
import requests
from requests.exceptions import InvalidHeader, RequestException
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError as Urllib3Error

from sealwax.aws.clock import AWS_CLOCK
from sealwax.egress.addresses import Address, is_allowed
from sealwax.egress.connect import Deadline, PinnedAdapter, prepared, trust
from sealwax.egress.errors import (
    DownstreamGarbage,
    DownstreamStatus,
    DownstreamTimeout,
    DownstreamUnreachable,
    OutgoingError,
    OutgoingRefused,
)
from sealwax.egress.resolve import Resolver, SystemResolver
from sealwax.egress.rules import HttpRule, Target, parse_target
from sealwax.egress.status import classify, parse_retry_after

__all__ = ["LeaseCheck", "OutgoingClient", "OutgoingResponse", "shared_client"]

_CHUNK = 16_384


class LeaseCheck(Protocol):
    """What of a job the client needs: `sealwax.job.Job` has it."""

    def check(self) -> None:
        """Raise where the attempt must not go on."""


@runtime_checkable
class RouteCheck(LeaseCheck, Protocol):
    """A job that knows which systems fail, and hears of others."""

    def asks(self, host: str, path: str) -> None:
        """Raise where the system must not be asked now."""

    def asked(self, host: str, path: str, *, answer: Literal["well", "trouble", "none"]) -> None:
        """Hear whether it has answered, and not that it is in trouble."""


@dataclass(frozen=True, kw_only=True)
class OutgoingResponse:
    """An answer with a 2xx status; `body` is decompressed and within the rule's bound."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    host: str

    def json(self) -> Any:
        """Return the body as JSON.

        Raises
        ------
        DownstreamGarbage
            Where it is none.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            pass
        raise DownstreamGarbage(self.host, "undecodable")


class OutgoingClient:
    """Sends requests within their rules.

    Parameters
    ----------
    resolver
        Returns a name's addresses; default: the system's, with a time-out.
    before_request
        Called with the host before every request; what it raises goes through.

    Example
    -------
    >>> client = OutgoingClient()
    >>> rule = HttpRule(hosts=("hooks.example.com",))
    >>> client.request("GET", "https://hooks.example.com/", rule=rule)  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        resolver: Resolver | None = None,
        before_request: Callable[[str], None] | None = None,
    ) -> None:
        self._resolver = resolver or SystemResolver()
        self._before = before_request
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def request(
        self,
        method: str,
        url: str,
        *,
        rule: HttpRule,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        job: LeaseCheck | None = None,
        read_body: bool = True,
    ) -> OutgoingResponse:
        """Send one request and return its answer.

        Parameters
        ----------
        job
            Its `check()` is called directly before the request is sent. A `RouteCheck`
            also hears which host is asked, and how that went: what it raises goes through.
        read_body
            Without it the answer's body is not read: its status is the answer.

        Raises
        ------
        OutgoingRefused
            The rule forbids it, or the answer is a redirect.
        DownstreamTimeout, DownstreamUnreachable, DownstreamGarbage
            No usable answer.
        DownstreamStatus
            An answer other than 2xx.
        """
        target = parse_target(url)
        rule.check_target(target)
        if not isinstance(job, RouteCheck):
            return self._request(method, target, rule, headers, body, job, read_body=read_body)
        job.asks(target.authority, target.path)
        try:
            found = self._request(method, target, rule, headers, body, job, read_body=read_body)
        except OutgoingError as error:
            # What else ends an attempt says nothing of the host.
            job.asked(target.authority, target.path, answer=_answer(error))
            raise
        job.asked(target.authority, target.path, answer="well")
        return found

    def _request(
        self,
        method: str,
        target: Target,
        rule: HttpRule,
        headers: Mapping[str, str] | None,
        body: bytes | None,
        job: LeaseCheck | None,
        *,
        read_body: bool,
    ) -> OutgoingResponse:
        deadline = Deadline(total=rule.total, read=rule.read)
        addresses = self._addresses(target, rule, deadline)
        if self._before is not None:
            self._before(target.host)
        if job is not None:
            job.check()
        adapter = PinnedAdapter(
            target=target,
            addresses=addresses,
            deadline=deadline,
            connect=rule.connect,
            context=self._context(rule) if target.scheme == "https" else None,
            proxy=rule.proxy,
        )
        # The cause must not stay reachable from what is raised, not even as
        # __context__: requests puts the URL into its messages. So nothing is
        # raised inside the except block.
        failure: OutgoingError
        try:
            message = prepared(target, method, self._headers(target, headers), body)
            with adapter.send(
                message,
                stream=True,
                timeout=(rule.connect, rule.read),
                proxies={target.scheme: rule.proxy} if rule.proxy else None,
            ) as response:
                return self._answer(response, target, rule, read_body=read_body)
        except OutgoingError:
            raise
        except (RequestException, Urllib3Error, OSError, ValueError) as error:
            failure = _explain(error, target.host, late=deadline.passed)
        finally:
            adapter.close()
        raise failure

    def _addresses(self, target: Target, rule: HttpRule, deadline: Deadline) -> list[Address]:
        """Return the addresses to connect to, each of them allowed."""
        if rule.proxy is not None:
            proxy = parse_target(rule.proxy)
            return self._resolve(proxy, rule, deadline)
        addresses = self._resolve(target, rule, deadline)
        named = rule.lists(target.host)
        # One forbidden address forbids the name: which one is connected to must
        # not depend on luck.
        if not all(is_allowed(address, named=named, cidrs=rule.cidrs) for address in addresses):
            raise OutgoingRefused("address-refused", target.host)
        return addresses

    def _resolve(self, target: Target, rule: HttpRule, deadline: Deadline) -> list[Address]:
        literal = target.literal
        if literal is not None:
            return [literal]
        failure: OutgoingError = DownstreamUnreachable(target.host, "unresolved")
        try:
            found = self._resolver(
                target.host, target.port, min(rule.connect, deadline.remaining())
            )
            if found:
                return found
        except TimeoutError:
            failure = DownstreamTimeout(target.host)
        except (OSError, ValueError):
            pass
        raise failure

    @staticmethod
    def _headers(target: Target, headers: Mapping[str, str] | None) -> dict[str, str]:
        return {
            "User-Agent": "Sealwax",
            "Accept": "*/*",
            "Accept-Encoding": "gzip",
            **(headers or {}),
            "Host": target.authority,
            "Connection": "close",
        }

    def _context(self, rule: HttpRule) -> ssl.SSLContext:
        path = str(rule.ca_file) if rule.ca_file else certifi.where()
        with self._lock:
            if path not in self._contexts:
                self._contexts[path] = trust(path)
            return self._contexts[path]

    @staticmethod
    def _answer(
        response: requests.Response, target: Target, rule: HttpRule, *, read_body: bool
    ) -> OutgoingResponse:
        status = response.status_code
        if 300 <= status <= 399:
            raise OutgoingRefused("redirect-refused", target.host)
        verdict = classify(status)
        if verdict != "ok":
            raise DownstreamStatus(
                target.host,
                status,
                transient=verdict == "transient",
                retry_after=parse_retry_after(response.headers.get("Retry-After"), AWS_CLOCK()),
            )
        return OutgoingResponse(
            status=status,
            headers=CaseInsensitiveDict(response.headers),
            body=_read(response, target.host, rule.max_response_bytes) if read_body else b"",
            host=target.host,
        )


def _answer(error: OutgoingError) -> Literal["well", "trouble", "none"]:
    """Return what an error says of the host: one that refuses a request is well."""
    if isinstance(error, DownstreamTimeout | DownstreamUnreachable):
        return "none"
    return "trouble" if isinstance(error, DownstreamStatus) and error.transient else "well"


def _read(response: requests.Response, host: str, limit: int) -> bytes:
    """Return the body, decompressed, never holding more than `limit` bytes and a chunk."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"", "identity", "gzip", "x-gzip"}:
        raise DownstreamGarbage(host, "undecodable")
    inflate = zlib.decompressobj(wbits=31) if "gzip" in encoding else None
    parts: list[bytes] = []
    size = 0
    failed = False
    while chunk := response.raw.read(_CHUNK, decode_content=False):
        data = chunk
        if inflate is not None:
            try:
                data = inflate.decompress(chunk, limit - size + 1)
            except zlib.error:
                failed = True
                break
        size += len(data)
        if size > limit:
            raise DownstreamGarbage(host, "too-large")
        parts.append(data)
    if failed or (inflate is not None and parts and not inflate.eof):
        raise DownstreamGarbage(host, "undecodable")
    return b"".join(parts)


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error and everything wrapped in it."""
    found: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting and len(found) < 32:
        item = waiting.pop()
        if not isinstance(item, BaseException) or item in found:
            continue
        found.append(item)
        waiting += [item.__cause__, item.__context__, getattr(item, "reason", None), *item.args]
    return found


def _explain(error: Exception, host: str, *, late: bool) -> OutgoingError:
    """Return our error for one of requests', urllib3's or the socket's."""
    chain = _chain(error)
    names = {cls.__name__ for item in chain for cls in type(item).__mro__}
    if isinstance(error, InvalidHeader) or "InvalidHeader" in names:
        return OutgoingRefused("header-invalid", host)
    # urllib3 derives NewConnectionError from its ConnectTimeoutError: asked first.
    if not late and "NewConnectionError" in names:
        return DownstreamUnreachable(host, "unreachable")
    if late or names & {"TimeoutError", "Timeout", "ReadTimeoutError", "ConnectTimeoutError"}:
        return DownstreamTimeout(host)
    if names & {"SSLError", "SSLCertVerificationError"}:
        return DownstreamUnreachable(host, "tls")
    if "ProxyError" in names:
        return DownstreamUnreachable(host, "unreachable")
    if names & {"RemoteDisconnected", "ConnectionResetError", "BrokenPipeError"}:
        return DownstreamUnreachable(host, "reset")
    if names & {"HTTPException", "IncompleteRead", "InvalidChunkLength", "ValueError"}:
        return DownstreamGarbage(host)
    return DownstreamUnreachable(host, "reset")


@functools.lru_cache(maxsize=2)
def _client_of(_pid: int) -> OutgoingClient:
    return OutgoingClient()


def shared_client() -> OutgoingClient:
    """Return this process's client; a forked child makes its own."""
    return _client_of(os.getpid())
