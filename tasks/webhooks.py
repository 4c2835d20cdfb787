"""`webhooks.relay`: deliver an event to another system's webhook.

A route (configuration) names the URL, a JMESPath transformation and a signing
secret. The delivery carries the job id as its idempotency key, the same in
every attempt. The body is never logged, nor does it enter an error.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import math
import re
from collections.abc import Iterable
from typing import Any, Self

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from sealwax.egress import (
    HttpRule,
    OutgoingClient,
    OutgoingError,
    outcome,
    parse_target,
    shared_client,
)
from sealwax.egress.errors import OutgoingRefused
from sealwax.job import Job
from sealwax.outcomes import Rejected, Transient
from sealwax.settings import Settings
from sealwax.task_definition import InvalidPayload, task

__all__ = ["Delivered", "Route", "WebhookRelay", "WebhookSettings", "deliver", "relay", "transform"]

#: Deepest nesting of a body; Python's own JSON encoder gives up near a thousand.
MAX_DEPTH = 100

_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")

#: Headers that the event must not take the place of.
_RESERVED = frozenset(
    {
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "idempotency-key",
        "transfer-encoding",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
    }
)


class WebhookRelay(BaseModel):
    """An event for a configured route."""

    model_config = ConfigDict(extra="forbid")

    route: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Name of a configured route; default: the configured default route.",
    )
    event: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$", description="Type of the event."
    )
    body: JsonValue = Field(description="Any JSON value; delivered after the transformation.")

    @field_validator("body")
    @classmethod
    def _body(cls, body: JsonValue) -> JsonValue:
        try:
            _measure(body)
        except ValueError:
            raise ValueError(
                f"must nest at most {MAX_DEPTH} deep and hold finite numbers only"
            ) from None
        return body


class Delivered(BaseModel):
    """What the downstream said."""

    status: int
    bytes: int = Field(description="Length of the delivered body.")


def _functions(node: Any) -> set[str]:
    """Return the names of all functions that a parsed expression calls."""
    own = {str(node["value"])} if node["type"] == "function_expression" else set()
    return own.union(*(_functions(child) for child in node["children"] if isinstance(child, dict)))


class Route(BaseModel):
    """Where and how the events of one route are delivered."""

    model_config = ConfigDict(extra="forbid")

    url: str
    transform: str = Field("@", max_length=10_000, description="JMESPath; `@` passes through.")
    secret: str = Field(
        pattern=r"^app/[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$",
        description="Name of the signing secret, whose value is `whsec_…`.",
    )
    event_header: str | None = Field("webhook-event", description="Header that names the event.")
    max_bytes: int = Field(33_554_432, ge=2, description="Largest delivered body, in bytes.")
    rule: HttpRule = Field(
        default_factory=HttpRule, description="Without hosts and cidrs: the URL's own host."
    )

    @field_validator("transform")
    @classmethod
    def _transform(cls, expression: str) -> str:
        try:
            parsed = jmespath.compile(expression).parsed
        except JMESPathError as error:
            raise ValueError(f"is not JMESPath: {str(error).splitlines()[0]}") from None
        # JMESPath itself looks functions up only when they are called.
        unknown = sorted(_functions(parsed) - set(Functions.FUNCTION_TABLE))
        if unknown:
            raise ValueError(f"calls unknown functions: {', '.join(unknown)}")
        return expression

    @field_validator("event_header")
    @classmethod
    def _event_header(cls, name: str | None) -> str | None:
        if name is not None and not _HEADER_NAME.fullmatch(name):
            raise ValueError("is not a header name")
        if name is not None and name.lower() in _RESERVED:
            raise ValueError("is a header with a meaning of its own")
        return name

    @model_validator(mode="after")
    def _url(self) -> Self:
        try:
            target = parse_target(self.url)
            if not self.rule.hosts and not self.rule.cidrs:
                self.rule = self.rule.model_copy(update={"hosts": (target.host,)})
            self.rule.check_target(target)
        except OutgoingRefused as error:
            raise ValueError(str(error)) from None
        return self


class WebhookSettings(BaseModel):
    """`[tasks.webhooks]`."""

    model_config = ConfigDict(extra="forbid")

    routes: dict[str, Route] = Field(default_factory=dict)
    default_route: str | None = Field(
        None, description="Route of events that name none; without it they are refused."
    )

    @model_validator(mode="after")
    def _default(self) -> Self:
        if self.default_route is not None and self.default_route not in self.routes:
            raise ValueError("default_route is not one of the routes")
        return self


def _measure(value: Any, limit: float = math.inf) -> float:
    """Return a lower bound of the length of a value's JSON text, in bytes.

    Stops as soon as it is above `limit`: a result that an expression multiplied
    is small in memory, where its parts are shared, and huge as text. Iterative,
    so that depth cannot hurt it.

    Raises
    ------
    ValueError
        Where the value is no finite JSON or nests deeper than `MAX_DEPTH`.
    """
    waiting: list[tuple[Any, int]] = [(value, 0)]
    size = 0
    while waiting and size <= limit:
        item, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ValueError("nests too deep")
        if isinstance(item, str):
            size += len(item) + 2
        elif isinstance(item, dict):
            if not all(isinstance(key, str) for key in item):
                raise ValueError("is no JSON")
            size += 2 + sum(len(key) + 3 for key in item) + max(len(item) - 1, 0)
            waiting.extend((child, depth + 1) for child in item.values())
        elif isinstance(item, list):
            size += 2 + max(len(item) - 1, 0)
            waiting.extend((child, depth + 1) for child in item)
        elif isinstance(item, float):
            if not math.isfinite(item):
                raise ValueError("is not finite")
            size += 1
        elif item is None or isinstance(item, int):
            # A digit is 3.3 bits; 4 keeps it a lower bound.
            size += 1 + (item or 0).bit_length() // 4
        else:
            # JMESPath's expression references (`&a`) end here.
            raise ValueError("is no JSON")
    return size


def transform(expression: str, body: JsonValue, *, max_bytes: int) -> bytes:
    """Return the transformed body as JSON text.

    Numbers, Unicode, nulls and the order of keys stay as they are where the
    expression passes them through.

    Raises
    ------
    Rejected
        `transform-failed` where the expression does not fit this body or its
        result is no JSON, `transform-empty` where it finds nothing,
        `transform-too-large` above `max_bytes`.
    """
    failed = False
    result: Any = body
    size = 0.0
    if expression != "@":
        try:
            result = jmespath.search(expression, body)
        except (JMESPathError, ArithmeticError, ValueError, TypeError, LookupError):
            failed = True
        except (AttributeError, RecursionError):
            failed = True
        if result is None and not failed:
            # A missing field is null in JMESPath; delivering it would hide a mistake.
            raise Rejected("transform-empty")
    if not failed:
        try:
            size = _measure(result, limit=max_bytes)
        except ValueError:
            failed = True
    # Raised outside of the handlers: an exception's text may quote the body.
    if failed:
        raise Rejected("transform-failed")
    if size > max_bytes:
        raise Rejected("transform-too-large")
    text = json.dumps(result, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        data = text.encode()
    except UnicodeEncodeError:
        # Lone surrogates have no UTF-8; escaped they are valid JSON.
        data = json.dumps(result, allow_nan=False, separators=(",", ":")).encode()
    if len(data) > max_bytes:
        raise Rejected("transform-too-large")
    return data


def _settings(settings: Settings) -> WebhookSettings:
    return settings.section("webhooks", WebhookSettings)


@functools.lru_cache(maxsize=256)
def _route(text: str) -> Route:
    """Return a route from its JSON: compiled once in a process, not in every job."""
    return Route.model_validate_json(text)


def _find_route(settings: Settings, name: str | None) -> Route | None:
    section = settings.tasks.get("webhooks", {})
    routes = section.get("routes", {})
    name = name or section.get("default_route")
    return _route(json.dumps(routes[name], default=str)) if name in routes else None


def _secrets(settings: Settings) -> Iterable[str]:
    return sorted({route.secret for route in _settings(settings).routes.values()})


def _configure(settings: Settings) -> None:
    _settings(settings)


def _validate(payload: WebhookRelay, settings: Settings) -> None:
    section = settings.tasks.get("webhooks", {})
    if payload.route is None and section.get("default_route") is None:
        raise InvalidPayload("/route", "is missing, and no default route is configured")
    if (payload.route or section.get("default_route")) not in section.get("routes", {}):
        raise InvalidPayload("/route", "must be the name of a configured route")


def _sign(secret: str, job: Job, body: bytes) -> dict[str, str]:
    """Return the headers of Standard Webhooks, signed for this attempt's time."""
    now = dt.datetime.now(tz=dt.UTC)
    try:
        signature = Webhook(secret).sign(job.id, now, body.decode())
    except (ValueError, RuntimeError, EmptyWebhookSecretError):
        signature = ""
    if not signature:
        # The operator can mend it, so the job waits.
        raise Transient("secret-unusable")
    return {
        "webhook-id": job.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }


def deliver(payload: WebhookRelay, job: Job, client: OutgoingClient) -> Delivered:
    """Deliver one event with the given client.

    Raises
    ------
    Rejected
        Unknown route, failed transformation, refused address, other 4xx.
    Transient
        No answer, 408, 425, 429, 5xx.
    """
    route = _find_route(job.settings, payload.route)
    if route is None:
        raise Rejected("unknown-route")
    body = transform(route.transform, payload.body, max_bytes=route.max_bytes)
    headers = {"Content-Type": "application/json", "Idempotency-Key": job.id}
    if route.event_header:
        headers[route.event_header] = payload.event
    headers |= _sign(job.secret(route.secret), job, body)
    try:
        answer = client.request(
            "POST",
            route.url,
            rule=route.rule,
            headers=headers,
            body=body,
            job=job,
            read_body=False,
        )
    except OutgoingError as error:
        raise outcome(error) from error
    return Delivered(status=answer.status, bytes=len(body))


@task(
    name="webhooks.relay",
    contract=WebhookRelay,
    secrets=_secrets,
    validate=_validate,
    configure=_configure,
)
def relay(payload: WebhookRelay, job: Job) -> Delivered:
    """Deliver an event to the webhook of a configured route."""
    return deliver(payload, job, shared_client())
