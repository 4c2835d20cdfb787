"""Request bodies: bounded, strict JSON, and nothing else."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from flask import Request, g

from sealwax.json_limits import JsonLimit, check_json
from sealwax.web.problems import Problem
from sealwax.web.services import services

__all__ = ["STRICT", "read_json"]


def _refuse_constant(_: str) -> NoReturn:
    # NaN and Infinity are Python's, not JSON's.
    raise ValueError("not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # RFC 8259 section 4: what a duplicate name means is unpredictable, and
        # what we validate must be what the worker runs.
        raise Problem("malformed-request", detail="An object has the same name twice.")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise Problem("malformed-request", detail="A number is too large for a double.")
    return number


#: Strict JSON: nothing in it that two readers could understand in two ways.
STRICT = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique
)


def read_json(request: Request, limit: int) -> Any:
    """Return the body's JSON value.

    Parameters
    ----------
    limit
        Most bytes that are read.

    Raises
    ------
    Problem
        415, 413 or 400.
    """
    if request.mimetype != "application/json" and not (
        request.mimetype.startswith("application/") and request.mimetype.endswith("+json")
    ):
        raise Problem("unsupported-media-type")
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if charset not in ("utf-8", "utf8") or request.content_encoding:
        raise Problem("unsupported-media-type")
    too_large = Problem(
        "too-large", detail=f"At most {limit} bytes are accepted in one request.", limit=limit
    )
    if request.content_length is not None and request.content_length > limit:
        raise too_large
    limits = services().settings.limits
    if limit > limits.request_bytes and (request.content_length or limit) > limits.request_bytes:
        if not services().large_bodies.enter(limits.large_wait):
            raise Problem("edge-busy", retry_after=2, detail="Another large body is being read.")
        g.large_body = services().large_bodies.leave
    data = request.stream.read(limit + 1)
    if len(data) > limit:
        raise too_large
    g.body_bytes = len(data)
    try:
        check_json(data, limits)
        value = STRICT.decode(data.decode())
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is not text
    except JsonLimit as found:
        if found.kind == "depth":
            detail = f"The body is nested deeper than {found.limit}."
            raise Problem("malformed-request", detail=detail, limit=found.limit) from None
        detail = f"At most {found.limit} {found.kind} are accepted in one request."
        raise Problem("too-large", detail=detail, limit=found.limit, of=found.kind) from None
    except (ValueError, RecursionError):
        # UnicodeError is a ValueError; so is an integer of more than 4,300 digits.
        raise Problem("malformed-request") from None
    return value
