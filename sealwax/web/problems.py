"""Every error of the API as an RFC 9457 problem document, from two tables.

`PROBLEMS` lists the kinds of problem; `ERRORS` says which kind each error of
the product is. Views raise what they meet: the apps' handlers look it up. A
problem says what went wrong and what to do; it never repeats the input and
never shows a stack trace.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from flask import Flask, Response, g
from werkzeug.exceptions import HTTPException

from sealwax.aws.dynamodb import CursorInvalid
from sealwax.aws.errors import StoreDenied, StoreUnreachable
from sealwax.control.audit_log import AuditDenied, AuditUnreachable
from sealwax.control.fleet import FleetItemNotFound
from sealwax.control.table import ControlDenied, ControlUnreachable
from sealwax.deadletters.errors import (
    LettersDenied,
    LettersUnreachable,
    NoSuchLetter,
    NoSuchReplay,
    NoSuchReveal,
    ReplayStateConflict,
    RevealModeRefused,
    RevealRefused,
    SelectionInvalid,
)
from sealwax.egress.enrich import NotFoundUpstream, UpstreamDown
from sealwax.errors import SealwaxError
from sealwax.ledger import LedgerError
from sealwax.outbox.payloads import PayloadStoreUnreachable
from sealwax.producer.submit import (
    IdempotencyConflict,
    JobInFlux,
    PayloadTooLarge,
    QueueUnavailable,
)
from sealwax.web.tokens import TokenInvalid, TokensUnreachable, TooManyUnknownTokens

__all__ = [
    "ERRORS",
    "FLEET_ERRORS",
    "PROBLEMS",
    "ErrorKind",
    "Kind",
    "Problem",
    "install",
    "problem_of",
]

log = structlog.get_logger("sealwax.api")

#: Stable identifiers; docs/reference/problems.md explains each.
PREFIX = "urn:sealwax:problem:"


@dataclass(frozen=True)
class Kind:
    """One row of the table."""

    status: int
    title: str
    detail: str


PROBLEMS: dict[str, Kind] = {
    "malformed-request": Kind(400, "Malformed request", "The body is not valid JSON."),
    "invalid-idempotency-key": Kind(
        400,
        "Invalid Idempotency-Key",
        "Send one header of 1 to 255 printable ASCII characters, without commas and without "
        "spaces at the ends.",
    ),
    "unauthenticated": Kind(
        401, "Authentication needed", "Send `Authorization: Bearer <token>` with a valid token."
    ),
    "forbidden": Kind(403, "Not allowed", "The token lacks the scope for this."),
    "not-found": Kind(404, "Not found", "There is nothing here, or it is not yours."),
    "unknown-task": Kind(404, "Unknown task", "GET /v1/tasks lists the tasks there are."),
    "method-not-allowed": Kind(405, "Method not allowed", "See the Allow header."),
    "job-in-flux": Kind(
        409,
        "Job is being accepted",
        "Another request with this Idempotency-Key is under way; repeat it in a second.",
    ),
    "state-conflict": Kind(409, "Not in this state", "Look at it again: it has gone on meanwhile."),
    "job-ended": Kind(
        409, "Job has ended", "It cannot be cancelled any more; `state` says how it ended."
    ),
    "reveal-mode": Kind(
        409, "Not revealed in this way", "`reveal.mode` says how payloads are revealed here."
    ),
    "request-timeout": Kind(
        408, "Request Timeout", "The request did not arrive in time; send it again, faster."
    ),
    "too-large": Kind(413, "Payload too large", "Send less, or a reference to where the data is."),
    "unsupported-media-type": Kind(
        415, "Unsupported media type", "Send `Content-Type: application/json` in UTF-8."
    ),
    "validation-failed": Kind(422, "Validation failed", "See `errors` for each field."),
    "idempotency-conflict": Kind(
        422,
        "Idempotency-Key reused",
        "This key was used for a different request; use a new key for a new job.",
    ),
    "reference-not-found": Kind(
        422, "Referenced thing not found", "`system` does not know what the payload refers to."
    ),
    "rate-limited": Kind(429, "Too many requests", "Wait for the seconds in Retry-After."),
    "headers-too-large": Kind(431, "Headers too large", "Send a shorter request line or headers."),
    "internal-error": Kind(
        500, "Internal error", "Nothing was accepted. Quote the request id to the operator."
    ),
    "queue-unavailable": Kind(
        503, "Queue unavailable", "The job was not accepted. Repeat it after Retry-After."
    ),
    "lane-overloaded": Kind(
        503, "Too many jobs wait", "Nothing was accepted. Repeat it after Retry-After."
    ),
    "edge-busy": Kind(
        503, "Too many connections", "Nothing was read. Repeat it after Retry-After."
    ),
    "ledger-unavailable": Kind(
        503, "Ledger unavailable", "Nothing was recorded. Repeat it after Retry-After."
    ),
    "archive-unavailable": Kind(
        503,
        "Archive unavailable",
        "Dead letters cannot be reached now. Repeat it after Retry-After.",
    ),
    "authentication-unavailable": Kind(
        503, "Authentication unavailable", "The token cannot be checked now. Repeat it later."
    ),
    "system-unavailable": Kind(
        503, "System unavailable", "A system that the task needs does not answer. Repeat it later."
    ),
}

_BY_STATUS = {
    400: "malformed-request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    422: "validation-failed",
    429: "rate-limited",
}


class Problem(Exception):
    """Ends a request with a row of the table.

    Parameters
    ----------
    name
        The row.
    retry_after
        Seconds.
    detail
        Replaces the row's; must not repeat the input.
    members
        Further members of the document, such as `errors`.
    """

    def __init__(
        self,
        name: str,
        *,
        retry_after: int | None = None,
        detail: str | None = None,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        self.name = name
        self.kind = PROBLEMS[name]
        self.retry_after = retry_after
        self.detail = detail or self.kind.detail
        self.headers = headers or {}
        self.members = members
        super().__init__(name)

    def response(self) -> Response:
        """Return the document."""
        document = {
            "type": PREFIX + self.name,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "request_id": g.get("request_id"),
            **self.members,
        }
        response = Response(
            json.dumps(document),
            status=self.kind.status,
            content_type="application/problem+json",
            headers=self.headers,
        )
        if self.retry_after is not None:
            response.headers["Retry-After"] = str(self.retry_after)
        if self.kind.status == HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = 'Bearer realm="sealwax"'
        return response


def _nothing(_: Any) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True)
class ErrorKind:
    """Which kind of problem an error is.

    Parameters
    ----------
    problem
        The row of `PROBLEMS`.
    retry_after
        Seconds; an error that has its own `retry_after` overrides them.
    text
        Whether the error's text is the problem's detail. Only for errors whose
        text never holds input. On a console page it always is: operators may
        read what stores say of themselves.
    page
        The row on a console page, where it is another.
    members
        Further members of the document.
    """

    problem: str
    retry_after: int | None = None
    text: bool = False
    page: str | None = None
    members: Callable[[Any], dict[str, Any]] = _nothing


_NO_SUCH = ErrorKind(problem="not-found")
_ARCHIVE = ErrorKind(problem="archive-unavailable", retry_after=5)


def _whole(error: SealwaxError) -> dict[str, Any]:
    return {"errors": [{"pointer": "", "detail": str(error)}]}


#: The kind of each error that a route can meet; a subclass is of its parent's
#: kind unless it has a row. An error without one is an internal error, and its
#: text is shown to nobody.
ERRORS: Mapping[type[SealwaxError], ErrorKind] = {
    # What the caller asked for.
    CursorInvalid: ErrorKind(problem="validation-failed", page="not-found", members=_whole),
    SelectionInvalid: ErrorKind(
        problem="validation-failed", page="malformed-request", members=_whole
    ),
    RevealRefused: ErrorKind(problem="validation-failed", members=_whole),
    NotFoundUpstream: ErrorKind(
        problem="reference-not-found", members=lambda error: {"system": error.system}
    ),
    PayloadTooLarge: ErrorKind(
        problem="too-large", text=True, members=lambda error: {"limit": error.limit}
    ),
    TokenInvalid: ErrorKind(problem="unauthenticated"),
    TooManyUnknownTokens: ErrorKind(problem="rate-limited", retry_after=1),
    # What is not there, or not in this state.
    FleetItemNotFound: ErrorKind(problem="not-found", text=True),
    NoSuchLetter: _NO_SUCH,
    NoSuchReplay: _NO_SUCH,
    NoSuchReveal: _NO_SUCH,
    IdempotencyConflict: ErrorKind(problem="idempotency-conflict"),
    JobInFlux: ErrorKind(problem="job-in-flux", retry_after=1),
    ReplayStateConflict: ErrorKind(problem="state-conflict", text=True, page="malformed-request"),
    RevealModeRefused: ErrorKind(problem="reveal-mode", text=True),
    # What does not answer now.
    AuditDenied: _ARCHIVE,
    AuditUnreachable: _ARCHIVE,
    ControlDenied: _ARCHIVE,
    ControlUnreachable: _ARCHIVE,
    LettersDenied: _ARCHIVE,
    LettersUnreachable: _ARCHIVE,
    LedgerError: ErrorKind(problem="ledger-unavailable", retry_after=5),
    PayloadStoreUnreachable: ErrorKind(
        problem="system-unavailable",
        retry_after=5,
        members=lambda _: {"system": "payload store"},
    ),
    QueueUnavailable: ErrorKind(problem="queue-unavailable", retry_after=5),
    TokensUnreachable: ErrorKind(problem="authentication-unavailable", retry_after=5),
    UpstreamDown: ErrorKind(
        problem="system-unavailable",
        retry_after=5,
        members=lambda error: {"system": error.system},
    ),
}

_FLEET = ErrorKind(problem="ledger-unavailable", retry_after=5, text=True)

#: Instead of those in `ERRORS` where operators look at the fleet: what a page or
#: a list shows comes from several tables, and the text says which of them.
FLEET_ERRORS: Mapping[type[SealwaxError], ErrorKind] = {
    StoreDenied: _FLEET,
    StoreUnreachable: _FLEET,
    LedgerError: _FLEET,
}


def problem_of(
    error: SealwaxError,
    *,
    page: bool = False,
    first: Mapping[type[SealwaxError], ErrorKind] | None = None,
) -> Problem:
    """Return the problem that an error is; an internal error where no table knows it.

    Parameters
    ----------
    page
        Whether it is shown to an operator, on a page of the console.
    first
        A table that is asked before `ERRORS`.
    """
    for table in (first or {}, ERRORS):
        for cls in type(error).__mro__:
            kind = table.get(cls)
            if kind is not None:
                return _made(error, kind, page=page)
    log.error("request failed", exc_info=error)
    return Problem("internal-error")


def _made(error: SealwaxError, kind: ErrorKind, *, page: bool) -> Problem:
    wait = kind.retry_after
    if wait is not None:
        wait = max(1, math.ceil(getattr(error, "retry_after", None) or wait))
    problem = Problem(
        (kind.page if page else None) or kind.problem,
        retry_after=wait,
        detail=str(error) if kind.text or page else None,
        **kind.members(error),
    )
    if problem.kind.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning(
            "unavailable",
            problem=problem.name,
            error=type(error).__name__,
            cause=getattr(error, "cause", None),
            system=problem.members.get("system"),
        )
    return problem


def install(app: Flask) -> None:
    """Make every error of the app a problem document."""

    @app.errorhandler(Problem)
    def _problem(problem: Problem) -> Response:
        return problem.response()

    @app.errorhandler(SealwaxError)
    def _ours(error: SealwaxError) -> Response:
        return problem_of(error).response()

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        status = error.code or 500
        name = _BY_STATUS.get(status, "internal-error" if status >= 500 else "malformed-request")
        headers = {key: value for key, value in error.get_headers() if key.lower() in ("allow",)}
        return Problem(name, headers=headers).response()

    @app.errorhandler(Exception)
    def _unexpected(error: Exception) -> Response:
        log.error("request failed", exc_info=error)
        return Problem("internal-error").response()
