"""SQS's batch calls and receives, without the part of boto3 that costs most.

boto3 resolves the endpoint, validates, serialises by a model, asks a dozen
hooks and parses each answer by the model again: two thirds of a call's
processor time, under an interpreter lock that the worker's event loop waits
for. Here the first call of a client goes by boto3 and shows where and how its
requests are sent; the others are the same requests, with the session's
credentials, sent by the client's own HTTP session: its certificates, proxies,
time-outs, connections and errors.

Whoever must not differ from boto3: every argument, answer and exception of the
four operations is what the client would take, give and raise, but for
`ResponseMetadata`; and its hooks of the event `before-send` see each request,
and may answer it. All other operations are the client's.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSPreparedRequest, HeadersDict
from botocore.exceptions import HTTPClientError, NoCredentialsError
from botocore.parsers import create_parser

from sealwax.transport.sigv4 import SigV4Signer

__all__ = ["SqsHttpClient"]

logger = logging.getLogger(__name__)

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

_PORTS = {"http": 80, "https": 443}


class BadAnswer(HTTPClientError):
    """What came back is not SQS's: a proxy's page, or half an answer."""

    fmt = "The answer to {operation} is not JSON"


@dataclass(frozen=True)
class _RequestTemplate:
    """Where the client sends its requests, and what they have in common."""

    url: str
    headers: Mapping[str, bytes]
    target: str
    signer: SigV4Signer


class SqsHttpClient:
    """A boto3 SQS client whose frequent calls are cheap.

    Parameters
    ----------
    client
        Makes the first call, and all but the four operations.
    credentials
        Returns botocore's credentials of the client's session, or None.
    """

    def __init__(self, client: Any, credentials: Callable[[], Any]) -> None:
        self._client = client
        self._credentials = credentials
        self._way: _RequestTemplate | None = None
        model = client.meta.service_model
        # botocore names neither of these in its documentation: without them all goes by boto3.
        self._session: Any = getattr(getattr(client, "_endpoint", None), "http_session", None)
        protocol = getattr(model, "resolved_protocol", None) or model.metadata.get("protocol")
        if self._session is not None and protocol == "json":
            self._parser = create_parser(protocol)
            client.meta.events.register("before-send.sqs", self._learn)

    def __getattr__(self, name: str) -> Any:
        """Return the client's attribute."""
        return getattr(self._client, name)

    @property
    def direct(self) -> bool:
        """Whether calls go directly, not by the client."""
        return self._way is not None

    def receive_message(self, **parameters: Any) -> dict[str, Any]:
        """Do as the client's method of this name."""
        if self._way is None:
            return self._client.receive_message(**parameters)  # type: ignore[no-any-return]
        answer = self._call(self._way, "ReceiveMessage", parameters)
        for message in answer.get("Messages") or ():
            for value in (message.get("MessageAttributes") or {}).values():
                if "BinaryValue" in value:
                    value["BinaryValue"] = base64.b64decode(value["BinaryValue"])
        return answer

    def send_message_batch(self, **parameters: Any) -> dict[str, Any]:
        """Do as the client's method of this name."""
        if self._way is None:
            return self._client.send_message_batch(**parameters)  # type: ignore[no-any-return]
        return self._call(self._way, "SendMessageBatch", parameters)

    def delete_message_batch(self, **parameters: Any) -> dict[str, Any]:
        """Do as the client's method of this name."""
        if self._way is None:
            return self._client.delete_message_batch(**parameters)  # type: ignore[no-any-return]
        return self._call(self._way, "DeleteMessageBatch", parameters)

    def change_message_visibility_batch(self, **parameters: Any) -> dict[str, Any]:
        """Do as the client's method of this name."""
        if self._way is None:
            return self._client.change_message_visibility_batch(**parameters)  # type: ignore[no-any-return]
        return self._call(self._way, "ChangeMessageVisibilityBatch", parameters)

    # -- the calls

    def _learn(self, request: Any, **_: Any) -> None:
        """Take from a request of the client how it is made. Sends nothing itself."""
        if self._way is not None:
            return
        headers = {_text(n).lower(): _text(v) for n, v in request.headers.items()}
        match = _AUTHORIZATION.match(headers.get("authorization", ""))
        target = headers.get("x-amz-target", "").rpartition(".")[0]
        url = urlsplit(request.url)
        usual = request.method == "POST" and url.path in {"", "/"} and not url.query
        if match is None or not target or not usual or url.username or not url.hostname:
            return  # signed in another way, or not at all: boto3's to do
        region, service, signed = match.groups()
        kept = {name: value for name, value in headers.items() if name not in _OWN_HEADERS}
        host = url.netloc
        if url.port == _PORTS.get(url.scheme):
            host = host.rpartition(":")[0]
        self._way = _RequestTemplate(
            url=request.url,
            headers={name: value.encode("latin-1") for name, value in kept.items()},
            target=target,
            signer=SigV4Signer(
                service=service,
                region=region,
                host=host,
                headers={name: kept[name] for name in signed.split(";") if name in kept},
            ),
        )

    def _call(
        self, way: _RequestTemplate, operation: str, parameters: dict[str, Any]
    ) -> dict[str, Any]:
        credentials = self._credentials()
        if credentials is None:
            raise NoCredentialsError
        body = json.dumps(parameters, default=_binary).encode()
        # Frozen: a refresh in the middle must not mix two keys.
        own = way.signer.sign(
            {"x-amz-target": f"{way.target}.{operation}"},
            body,
            credentials.get_frozen_credentials(),
        )
        # botocore's own requests hold these, too; its published types know another class only.
        headers: Any = HeadersDict(way.headers)
        for name, value in own.items():
            headers[name] = value.encode("latin-1")
        request = AWSPreparedRequest("POST", way.url, headers, body, stream_output=False)
        # As botocore does: somebody may count it, or answer it in the server's place (moto).
        answers = self._client.meta.events.emit(f"before-send.sqs.{operation}", request=request)
        response = next((answer for _, answer in answers if answer is not None), None)
        if response is None:
            response = self._session.send(request)
        if response.status_code >= 300:
            self._raise(operation, response)
        try:
            answer = json.loads(response.content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise BadAnswer(operation=operation)
        return answer

    def _raise(self, operation: str, response: Any) -> None:
        model = self._client.meta.service_model.operation_model(operation)
        parsed = self._parser.parse(
            {
                "headers": response.headers,
                "status_code": response.status_code,
                "body": response.content,
                "context": {"operation_name": operation},
            },
            model.output_shape,
        )
        error = parsed.get("Error", {})
        # The code in `Error` is the query protocol's; classes go by the other, as in botocore.
        code = error.get("QueryErrorCode") or error.get("Code")
        raise self._client.exceptions.from_code(code)(parsed, operation)


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _binary(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"no JSON for {type(value).__name__}")
