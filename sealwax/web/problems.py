"""Every error of the API as an RFC 9457 problem document, from one table.

A problem says what went wrong and what to do; it never repeats the input and
never shows a stack trace.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from flask import Flask, Response, g
from werkzeug.exceptions import HTTPException

__all__ = ["PROBLEMS", "Kind", "Problem", "install"]

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
        "Send 1 to 255 printable ASCII characters without spaces at the ends.",
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
    "internal-error": Kind(
        500, "Internal error", "Nothing was accepted. Quote the request id to the operator."
    ),
    "queue-unavailable": Kind(
        503, "Queue unavailable", "The job was not accepted. Repeat it after Retry-After."
    ),
    "lane-overloaded": Kind(
        503, "Too many jobs wait", "Nothing was accepted. Repeat it after Retry-After."
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


def install(app: Flask) -> None:
    """Make every error of the app a problem document."""

    @app.errorhandler(Problem)
    def _problem(problem: Problem) -> Response:
        return problem.response()

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
