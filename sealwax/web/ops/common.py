"""What all views of the operations API share: blueprints and parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, request

from sealwax.deadletters import Filter
from sealwax.errors import SealwaxError
from sealwax.web.auth import principal
from sealwax.web.body import read_json
from sealwax.web.problems import ErrorKind, Problem, problem_of

__all__ = ["actor", "filter_of", "limit_of", "ops_blueprint", "reason_of", "seconds"]

#: Members of a filter that are texts, and their longest.
_TEXTS = ("group", "queue", "task", "reason", "cause", "error")
_TEXT_MAX = 200


def ops_blueprint(
    name: str, first: Mapping[type[SealwaxError], ErrorKind] | None = None
) -> Blueprint:
    """Return a blueprint below `/v1/ops`.

    Parameters
    ----------
    first
        Kinds of errors that are others here than elsewhere.
    """
    made = Blueprint(f"ops_{name}", __name__, url_prefix="/v1/ops")
    if first:

        @made.errorhandler(SealwaxError)
        def _ours(error: SealwaxError) -> Response:
            return problem_of(error, first=first).response()

    return made


def actor() -> str:
    """Return who is asking, as the audit log names them."""
    return f"token:{principal().id}"


def reason_of() -> str | None:
    """Return the `reason` of a body that holds nothing else; there may be no body.

    A body that comes in chunks has no length, and is one all the same.
    """
    if not request.content_length and "Transfer-Encoding" not in request.headers:
        return None
    body = read_json(request, 10_000)
    if not isinstance(body, dict) or set(body) - {"reason"}:
        raise _wrong("", "must be an object with `reason`, or no body")
    reason = body.get("reason")
    if reason is not None and not isinstance(reason, str):
        raise _wrong("/reason", "must be a string")
    return reason


def limit_of() -> int:
    """Return the parameter `limit`: 1 to 100, 50 by default."""
    text = request.args.get("limit", "50")
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise _wrong("/limit", "must be 1 to 100")
    return int(text)


def filter_of(values: Any, pointer: str = "") -> Filter:
    """Read a filter from parameters or from a JSON object."""
    if not isinstance(values, dict):
        raise _wrong(pointer, "must be an object")
    unknown = set(values) - {*_TEXTS, "since", "until"}
    if unknown:
        raise _wrong(pointer, f"has {len(unknown)} unknown member(s)")
    found: dict[str, Any] = {}
    for name in _TEXTS:
        value = values.get(name)
        if value is None:
            continue
        if not isinstance(value, str) or not 0 < len(value) <= _TEXT_MAX:
            raise _wrong(f"{pointer}/{name}", "must be a text of 1 to 200 characters")
        found[name] = value
    for name in ("since", "until"):
        if values.get(name) is not None:
            found[name] = seconds(values[name], f"{pointer}/{name}")
    return Filter(**found)


def seconds(value: Any, pointer: str) -> float:
    """Read a moment: epoch seconds, or ISO 8601 with its offset."""
    try:
        if isinstance(value, str) and not value.replace(".", "", 1).isdecimal():
            found = datetime.fromisoformat(value)
            at = found.timestamp() if found.tzinfo is not None else math.nan
        else:
            at = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        at = math.nan
    if not math.isfinite(at) or not 0 <= at < 1e11:
        raise _wrong(pointer, "must be epoch seconds, or ISO 8601 with an offset")
    return at


def _wrong(pointer: str, detail: str) -> Problem:
    return Problem("validation-failed", errors=[{"pointer": pointer, "detail": detail}])
