"""Whether a decoded message may go near Celery's main loop.

Celery's worker reads headers and properties in its main process, and some
wrong values end it. So every field that it works with is checked here first:
type, range and size. What it only shows or hands on may be any JSON that an app
or a library put there, and so may headers of their own, unless their names shadow
what Celery's request context relies on. Pure; raises `Malformed` and nothing else.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from celery.app.task import Context
from celery.utils.time import maybe_iso8601

from sealwax.transport.bodies import body_of
from sealwax.transport.codec import MAX_DEPTH, Malformed, depth, loads

__all__ = ["FORBIDDEN", "check_body", "check_message", "eta_of", "is_plain"]

#: Longest name or id, in characters.
NAME_MAX = 1_024

#: Longest time limit a message may ask for, in seconds; longer ones are cut to it.
TIME_LIMIT_MAX = 41_400

#: Largest body after decompression, in bytes: a small message must not fill the memory.
BODY_MAX = 16 * 1_048_576

#: Deepest nesting of headers and properties: pickle, which brings them to a child, goes two calls
#: deeper a level.
#: At 475 or so levels stock Celery's worker dies of it.
HEADER_DEPTH = 450

#: Headers become attributes of Celery's request context: these would break it.
FORBIDDEN = frozenset(
    name for name in dir(Context) if name.startswith("_") or callable(getattr(Context, name, None))
) | frozenset({"args", "kwargs", "called_directly", "is_eager", "delivery_info", "properties"})

#: Parts of a body's third member, which become attributes of the context too.
_EMBED = frozenset({"callbacks", "errbacks", "chain", "chord"})
_SHADOWED = (frozenset(dir(Context)) | {"task", "lang", "argsrepr", "kwargsrepr"}) - _EMBED

#: Retries that a message may say it has had, either way of zero.
_RETRIES_MAX = 2**31 - 1


_TEXT = (str, type(None))
_NONE = (type(None),)
#: Types of the headers that Celery writes for a call without options.
_PLAIN: dict[str, tuple[type, ...]] = {
    "lang": (str,), "task": (str,), "id": (str,), "shadow": _NONE, "eta": _NONE, "expires": _NONE,
    "group": _TEXT, "group_index": (int, type(None)), "retries": (int,), "timelimit": (list,),
    "root_id": _TEXT, "parent_id": _TEXT, "argsrepr": _TEXT, "kwargsrepr": _TEXT, "origin": _TEXT,
    "ignore_result": (bool,), "replaced_task_nesting": (int,), "stamped_headers": _NONE,
    "stamps": (dict,),
}  # fmt: skip
_NO_CANVAS = '{"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'


def is_plain(payload: dict[str, Any], max_depth: int) -> bool:
    """Whether a message is as Celery writes it for a call without options.

    Such a one passes `check_message`; that is known here without parsing its body, for
    senders, most of whose messages are such.
    """
    headers = payload.get("headers") or {}
    for name, value in headers.items():
        if type(value) not in _PLAIN.get(name, ()):
            return False
    body = payload.get("body")
    return (
        payload.get("content-type") == "application/json"
        and payload.get("content-encoding") == "utf-8"
        and isinstance(body, str)
        and body.isascii()
        and body.startswith("[[")
        and body.endswith(_NO_CANVAS)
        and body.count("[") + body.count("{") <= max_depth
        # Both are text: the table says so.
        and all(
            one and len(one) <= NAME_MAX and one.isascii() and not one.isspace()
            for one in (headers.get("id"), headers.get("task"))
        )
        and headers.get("timelimit") in (None, [None, None])
        and headers.get("retries", 0) == 0
        and not headers.get("stamps")
    )


def check_message(
    payload: dict[str, Any],
    *,
    accept: tuple[str, ...],
    max_depth: int = MAX_DEPTH,
    inflated_bytes: int = BODY_MAX,
    strict: bool = False,
) -> None:
    """Check a decoded message and put it into the form that kombu expects.

    Parameters
    ----------
    strict
        Whether nobody but our own senders writes such messages: then what a library or an app
        may add to a task is malformed too, and so are NaN and the infinities.

    Raises
    ------
    Malformed
        Names the field.
    """
    headers = payload.get("headers")
    if not isinstance(headers, dict) or not headers:
        raise Malformed("headers")
    # The request context has both.
    if max(depth(headers), depth(payload.get("properties"))) > min(max_depth, HEADER_DEPTH):
        raise Malformed("header-depth")
    if strict:
        _check_own(headers)
    _check_headers(headers)
    _check_properties(payload)
    content_type = payload.get("content-type")
    if not isinstance(content_type, str) or content_type not in accept:
        raise Malformed("content-type")
    encoding = payload.get("content-encoding")
    textual = isinstance(encoding, str) and encoding.lower() in {"utf-8", "utf8", "us-ascii"}
    # "binary" bodies are for other content types than JSON.
    if not textual and (content_type == "application/json" or encoding != "binary"):
        raise Malformed("content-encoding")
    payload["body"] = body_of(payload, headers, inflated_bytes)
    if content_type == "application/json":
        body = loads(payload["body"], max_depth=max_depth, constants=not strict)
        check_body(body)
        if strict and not _EMBED.issuperset(body[2]):
            raise Malformed("embed")


def check_body(body: Any) -> None:
    """Check the decoded body of protocol 2: `[args, kwargs, embed]`.

    Raises
    ------
    Malformed
        Names the part.
    """
    if not isinstance(body, list | tuple) or len(body) != 3:
        raise Malformed("body")
    args, kwargs, embed = body
    if not isinstance(args, list | tuple):
        raise Malformed("args")
    if not isinstance(kwargs, dict) or not all(isinstance(name, str) for name in kwargs):
        raise Malformed("kwargs")
    if embed is None:
        raise Malformed("embed")
    if not isinstance(embed, dict) or not _SHADOWED.isdisjoint(embed):
        raise Malformed("embed")
    for name in ("callbacks", "errbacks", "chain"):
        value = embed.get(name)
        # Celery asks for the truth of them alone.
        if value and not (
            isinstance(value, list | tuple) and all(_is_signature(item) for item in value)
        ):
            raise Malformed(name)
    if embed.get("chord") and not _is_signature(embed["chord"]):
        raise Malformed("chord")


def eta_of(headers: dict[str, Any]) -> float | None:
    """Return a checked message's eta in epoch seconds; 0.0 for one before 1971."""
    eta = headers.get("eta")
    return None if eta is None else _moment(eta, "eta")


def _is_signature(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("task"), str)
        and isinstance(value.get("args") or [], list | tuple)
        and isinstance(value.get("kwargs") or {}, dict)
        and isinstance(value.get("options") or {}, dict)
    )


def _check_own(headers: dict[str, Any]) -> None:
    if any(name.startswith("_") or not _is_text(name) for name in headers):
        raise Malformed("header-name")
    if not isinstance(headers.get("id"), str):
        raise Malformed("id")
    retries = headers.get("retries") or 0
    if not isinstance(retries, int) or retries < 0:
        raise Malformed("retries")


def _check_headers(headers: dict[str, Any]) -> None:
    for name in headers:
        if name in FORBIDDEN:
            raise Malformed("header-name")
    if _is_number(headers.get("id")):
        headers["id"] = str(headers["id"])
    for name in ("task", "id"):
        if not (_is_text(headers.get(name)) and headers[name].strip()):
            raise Malformed(name)
    if isinstance(headers.get("shadow") or None, list | dict):
        raise Malformed("shadow")  # Celery counts tasks by this name
    if headers.get("retries") is None:
        headers["retries"] = 0
    if not (_is_number(headers["retries"]) and abs(headers["retries"]) <= _RETRIES_MAX):
        raise Malformed("retries")
    _check_times(headers)
    _check_time_limits(headers)
    _check_stamps(headers)


def _check_times(headers: dict[str, Any]) -> None:
    for name in ("eta", "expires"):
        if headers.get(name) is not None:
            _moment(headers[name], name)


def _check_time_limits(headers: dict[str, Any]) -> None:
    limits = headers.get("timelimit")
    if not limits:
        headers.pop("timelimit", None)
        return
    if not isinstance(limits, list) or len(limits) != 2:
        raise Malformed("timelimit")
    checked: list[float | int | None] = []
    for value in limits:
        if value is None:
            checked.append(None)
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Malformed("timelimit")
        if value < 0 or (isinstance(value, float) and not math.isfinite(value)):
            raise Malformed("timelimit")
        checked.append(min(value, TIME_LIMIT_MAX))
    headers["timelimit"] = checked


def _check_stamps(headers: dict[str, Any]) -> None:
    """Check that stamps can be looked up by their headers; their values may be anything."""
    names = headers.get("stamped_headers") or ()
    if not isinstance(names, str | list | dict | tuple) or any(
        isinstance(name, list | dict) for name in names
    ):
        raise Malformed("stamped_headers")
    if names and not isinstance(headers.get("stamps") or {}, dict):
        raise Malformed("stamps")


def _check_properties(payload: dict[str, Any]) -> None:
    properties = payload.get("properties")
    if properties is None:
        properties = payload["properties"] = {}
    if not isinstance(properties, dict):
        raise Malformed("properties")
    info = properties.get("delivery_info")
    if info is None:
        info = properties["delivery_info"] = {}
    if not isinstance(info, dict):
        raise Malformed("delivery_info")
    for name in ("exchange", "routing_key"):
        if info.get(name) is not None and not _is_text(info[name]):
            raise Malformed("delivery_info")


def _is_text(value: Any, *, limit: int = NAME_MAX) -> bool:
    if not isinstance(value, str) or len(value) > limit:
        return False
    if value.isascii():
        return True
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _moment(value: Any, name: str) -> float:
    """Return epoch seconds of an ISO 8601 text, as Celery itself would read it.

    Years before 1971 are long past: 0.0. The last ones of the calendar are never reached:
    an expiry there is none, and an eta is refused.
    """
    if not isinstance(value, str) or len(value) > 64:
        raise Malformed(name)
    try:
        moment = maybe_iso8601(value)
        if not isinstance(moment, datetime):
            raise Malformed(name)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)  # as Celery does, wherever the worker is
        # Near the ends of the calendar Celery's conversions overflow.
        if moment.year < 1971:
            return 0.0
        if moment.year > 9990:
            if name == "expires":
                return math.inf
            raise Malformed(name)
        return moment.timestamp()
    except (ValueError, TypeError, OverflowError, AttributeError):
        raise Malformed(name) from None
