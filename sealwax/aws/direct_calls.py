"""Requests of one boto3 client, made without the part of boto3 that costs most.

boto3 resolves the endpoint, validates, serialises by a model, asks a dozen
hooks and parses each answer by the model again: two thirds of a call's
processor time. Here the first call of a client goes by boto3 and shows where
and how its requests are sent; the others are the same requests, with the
session's credentials, sent by the client's own HTTP session: its certificates,
proxies, time-outs, connections and errors. Its hooks of the event `before-send`
see each request, and may answer it.

Must never do what botocore would not: where a part of it differs from what is
known here, all calls are boto3's from then on, that one included. While a
tracer wraps boto3's calls they are boto3's too, so that it sees them.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import weakref
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any, Literal
from urllib.parse import urlsplit

from botocore.client import BaseClient
from botocore.exceptions import ClientError, HTTPClientError, NoCredentialsError

from sealwax.aws.clock import AWS_CLOCK, AwsClock
from sealwax.aws.kept_connection import KeptConnections
from sealwax.aws.sigv4 import SigV4Signer

__all__ = ["BadAnswer", "DirectCalls", "NotDirect", "WayTaken", "ways_taken"]

logger = logging.getLogger(__name__)

#: By which way calls go: directly; or by boto3, since none has shown how yet (`unknown`), a
#: tracer wraps its calls, or its release differs.
WayTaken = Literal["direct", "unknown", "traced", "differs"]

#: What a request must say anew; the rest of the first one's headers is kept.
_OWN_HEADERS = frozenset(
    {
        "authorization", "x-amz-date", "x-amz-security-token", "content-length", "x-amz-target",
        "amz-sdk-invocation-id", "amz-sdk-request", "x-amzn-trace-id",
    }
)  # fmt: skip

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/([^/]+)/([^/]+)/aws4_request, "
    r"SignedHeaders=([^,]+), "
)

#: What a botocore raises whose parts are not those that are known here.
_DIFFERS = (AttributeError, ImportError, LookupError, NotImplementedError, TypeError)


class BadAnswer(HTTPClientError):
    """What came back is not the service's: a proxy's page, or half an answer."""

    fmt = "The answer to {operation} is not JSON, or not whole"


class NotDirect(Exception):
    """Not raised for what a service says: the call is boto3's to make."""


@dataclass(frozen=True)
class _Way:
    """Where the client sends its requests, and what they have in common."""

    url: str
    headers: Mapping[str, str]
    target: str
    signer: SigV4Signer
    connections: KeptConnections


def _shown(base: Any) -> Any:
    """Return the class of what hooks are shown of a request: botocore's, its headers made late.

    Few hooks look at them, and to make botocore's costs more than to sign.
    """

    class Shown(base):  # type: ignore[misc]  # botocore's, whichever release's
        def __init__(self, url: str, make: Callable[[], Any], body: bytes) -> None:
            self.method, self.url, self.body = "POST", url, body
            self.stream_output, self.context = False, None
            self._make, self.looked_at = make, False

        @property
        def headers(self) -> Any:
            if not self.looked_at:
                self._made, self.looked_at = self._make(), True
            return self._made

    return Shown


class DirectCalls:
    """Calls of one client in the JSON protocol: SQS's and DynamoDB's.

    Parameters
    ----------
    client
        Makes the first call, and shows how.
    credentials
        Returns botocore's credentials of the client's session, or None.
    clock
        Times the signatures, and hears the answers.
    """

    def __init__(
        self, client: Any, credentials: Callable[[], Any], clock: AwsClock = AWS_CLOCK
    ) -> None:
        self._clock = clock
        self._client = client
        self._credentials = credentials
        self._way: _Way | None = None
        self._dropped = False
        model = getattr(client.meta, "service_model", None)
        self.service = str(getattr(model, "service_name", "unknown"))
        _MADE.add(self)
        try:
            # botocore documents none of these.
            from botocore.awsrequest import AWSPreparedRequest, HeadersDict
            from botocore.parsers import create_parser

            model = client.meta.service_model
            protocol = getattr(model, "resolved_protocol", None) or model.metadata["protocol"]
            if protocol != "json":
                raise NotImplementedError(f"protocol {protocol}")
            self._request, self._headers = AWSPreparedRequest, HeadersDict
            self._shown = _shown(AWSPreparedRequest)
            self._parser = create_parser(protocol)
            self._http: Any = client._endpoint.http_session  # noqa: SLF001
            self._event = f"before-send.{model.service_id.hyphenize()}"
            client.meta.events.register(self._event, self._learn)
        except _DIFFERS as error:
            self._drop(error)

    @property
    def ready(self) -> bool:
        """Whether calls can be made directly, now."""
        return self.taken == "direct"

    @property
    def taken(self) -> WayTaken:
        """By which way calls go now, and why where it is boto3's."""
        if self._dropped:
            return "differs"
        if _traced():
            return "traced"
        return "unknown" if self._way is None else "direct"

    def send(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Make one call, once.

        Returns
        -------
        The answer as boto3 gives it, without `ResponseMetadata`; bytes as base64.

        Raises
        ------
        botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError
            As boto3 does.
        NotDirect
            The call is boto3's to make. It may have been sent, as where an answer is lost.
        """
        way = self._way
        if way is not None and not _traced():
            body = json.dumps(parameters, default=_binary).encode()
            credentials = self._credentials()
            if credentials is None:
                raise NoCredentialsError
            try:
                for first in (True, False):
                    # Frozen: a refresh in the middle must not mix two keys.
                    frozen = credentials.get_frozen_credentials()
                    target = {"x-amz-target": f"{way.target}.{operation}"}
                    own = way.signer.sign(target, body, frozen, now=self._clock())
                    sent = self._clock.steady()
                    says = {**way.headers, **own}
                    shown = self._shown(way.url, partial(self._made, says), body)
                    # As botocore does: somebody may count it, hold it up, or answer it in the
                    # server's place (moto). Who looks at its headers may change it.
                    answers = self._client.meta.events.emit(
                        f"{self._event}.{operation}", request=shown
                    )
                    given = next((answer for _, answer in answers if answer is not None), None)
                    response: Any = (
                        given
                        or (not shown.looked_at and way.connections.exchange(says, body))
                        or self._http.send(
                            self._request(
                                "POST", shown.url, shown.headers, shown.body, stream_output=False
                            )
                        )
                    )
                    if response.status_code < 300:
                        break
                    self._refuse(operation, response, sent, again=first)
                self._clock.answered(response.headers, sent)
                content, checksum = response.content, response.headers.get("x-amz-crc32")
            except _DIFFERS as error:
                self._drop(error)
            else:
                try:
                    answer = json.loads(content)
                    if checksum is not None and int(checksum) != zlib.crc32(content):
                        answer = None
                except ValueError:
                    answer = None
                if not isinstance(answer, dict):
                    raise BadAnswer(operation=operation)
                return answer
        raise NotDirect

    def _made(self, headers: Mapping[str, str]) -> Any:
        # botocore's own requests hold these; its published types know another class.
        return self._headers({name: v.encode("latin-1") for name, v in headers.items()})

    def _refuse(self, operation: str, response: Any, sent: float, *, again: bool) -> None:
        """Raise what was answered, unless the request's time was at fault: it is sent again."""
        error = self._error(operation, response)
        code = error.response.get("Error", {}).get("Code")
        if not self._clock.answered(response.headers, sent, refused=code) or not again:
            raise error

    def _error(self, operation: str, response: Any) -> ClientError:
        service = self._client.meta.service_model
        described = {
            "headers": response.headers,
            "status_code": response.status_code,
            "body": response.content,
            "context": {"operation_name": operation},
        }
        parsed = self._parser.parse(described, service.operation_model(operation).output_shape)
        error = parsed.get("Error", {})
        # What the error's own model has: the item that stood in the way, reasons of a
        # transaction.
        shape = service.shape_for_error_code(error.get("Code"))
        if shape is not None:
            parsed.update(self._parser.parse(described, shape))
        # The code in `Error` is the query protocol's; classes go by the other, as in botocore.
        code = error.get("QueryErrorCode") or error.get("Code")
        made: ClientError = self._client.exceptions.from_code(code)(parsed, operation)
        return made

    def _learn(self, request: Any, **_: Any) -> None:
        """Take from a request of the client how it is made. Sends nothing itself."""
        if self._way is not None or self._dropped:
            return
        try:
            self._way = _way_of(request, self._http)
            if self._way is not None:
                self._client.meta.events.unregister(self._event, self._learn)
        except _DIFFERS as error:
            self._drop(error)

    def _drop(self, error: Exception) -> None:
        """Leave all calls to boto3 from now on."""
        self._way = None
        if not self._dropped:
            self._dropped = True
            logger.warning(
                "Calls go by boto3, which costs more: this release of botocore differs (%s)",
                type(error).__name__,
            )


#: All of this process, for who reports them.
_MADE: weakref.WeakSet[DirectCalls] = weakref.WeakSet()


def ways_taken() -> Counter[tuple[str, WayTaken]]:
    """Return how many clients of each service go by each way now, in this process.

    A service whose calls are all boto3's by the settings is not in it.
    """
    return Counter((each.service, each.taken) for each in list(_MADE))


def _traced() -> bool:
    """Whether somebody wraps boto3's calls: spans are worth more than speed."""
    made = vars(BaseClient).get("_make_api_call")
    own = isinstance(made, FunctionType) and str(made.__globals__.get("__name__"))
    return not own or not own.startswith("botocore.")


def _way_of(request: Any, http: Any) -> _Way | None:
    """Return how a request was made; None where it was signed in another way, or not at all."""
    headers = {_text(n).lower(): _text(v) for n, v in request.headers.items()}
    match = _AUTHORIZATION.match(headers.get("authorization", ""))
    target = headers.get("x-amz-target", "").rpartition(".")[0]
    url = urlsplit(request.url)
    usual = request.method == "POST" and url.path in {"", "/"} and not url.query
    if match is None or not target or not usual or url.username or not url.hostname:
        return None
    region, service, signed = match.groups()
    kept = {name: value for name, value in headers.items() if name not in _OWN_HEADERS}
    host = _signed_host(request.url)
    return _Way(
        url=request.url,
        headers=kept,
        target=target,
        signer=SigV4Signer(
            service=service,
            region=region,
            host=host,
            headers={name: kept[name] for name in signed.split(";") if name in kept},
        ),
        connections=KeptConnections(http, request.url, host),
    )


def _signed_host(url: str) -> str:
    """Return the host as botocore signs it: small letters, its port unless it is the usual."""
    from botocore import auth

    return str(auth._host_from_url(url))  # type: ignore[attr-defined]  # noqa: SLF001


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _binary(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"no JSON for {type(value).__name__}")
