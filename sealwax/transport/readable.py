"""Whether workers would read a message that is about to be sent.

What `validation` refuses at the worker is a dead letter hours later; here it is an
error that says what to change. The check is the worker's own, on what it would
receive. Pure.
"""

from __future__ import annotations

from typing import Any

from sealwax.transport.bodies import COMPRESSIONS
from sealwax.transport.codec import Malformed, decode, encode
from sealwax.transport.errors import MessageRefused
from sealwax.transport.options import TransportOptions
from sealwax.transport.validation import FORBIDDEN, HEADER_DEPTH, check_message

__all__ = ["check_readable"]

#: What to change, by the kind of `Malformed`.
_ADVICE = {
    "headers": "it is no task message of protocol 2; send it by Celery, with task_protocol = 2",
    "task": "a task's name is text of 1 to 1,024 characters",
    "id": "a task's id is a number, or text of 1 to 1,024 characters",
    "shadow": "`shadow` is no name",
    "retries": "`retries` is a number up to 2,147,483,647",
    "eta": "`eta` is no ISO 8601 time that Celery reads, before the year 9991",
    "expires": "`expires` is no ISO 8601 time that Celery reads",
    "timelimit": "time limits are two numbers of seconds, or None",
    "stamps": "`stamps` is no mapping",
    "stamped_headers": "`stamped_headers` names no headers",
    "header-depth": f"headers or properties are nested deeper than {HEADER_DEPTH} levels",
    "callbacks": "`link` holds what is no signature",
    "errbacks": "`link_error` holds what is no signature",
    "chain": "`chain` holds what is no signature",
    "chord": "`chord` is no signature",
    "args": "arguments are a list and a mapping by names",
    "kwargs": "arguments are a list and a mapping by names",
    "embed": "the body's third member names what Celery's own names hide",
    "delivery_info": "exchange and routing key are text of up to 1,024 characters",
    "body": "its body is not that of a task; send it by Celery, with task_protocol = 2",
    "not-json": "its body is no JSON that a worker reads; use Celery's own serializer",
}


def check_readable(message: dict[str, Any], options: TransportOptions) -> None:
    """Check a message as the worker that receives it will.

    Raises
    ------
    MessageRefused
        Says what to change.
    TypeError, ValueError
        JSON cannot say it.
    """
    properties = dict(message.get("properties") or {})
    properties.pop("message_attributes", None)  # they travel beside the message
    try:
        received = decode(
            encode({**message, "properties": properties}), max_depth=options.max_depth
        )
    except (RecursionError, Malformed):
        raise MessageRefused(_advice("header-depth", message, options)) from None
    try:
        check_message(
            received,
            accept=options.accept,
            max_depth=options.max_depth,
            inflated_bytes=options.inflated_bytes,
            strict=options.headers is not None,
        )
    except Malformed as finding:
        raise MessageRefused(_advice(finding.kind, message, options)) from None


def _advice(kind: str, message: dict[str, Any], options: TransportOptions) -> str:
    headers = message.get("headers") or {}
    if kind in ("content-type", "content-encoding"):
        return (
            f"Workers read {', '.join(options.accept)}, and this is {message.get('content-type')}; "
            'send it with serializer="json", or name its type in the transport option "accept" of '
            "senders and workers."
        )
    # A tuple: a header may be a list, which no set can be asked for.
    if kind == "compression" and headers.get("compression") not in tuple(COMPRESSIONS):
        return (
            f"Workers cannot undo the compression {headers.get('compression')!r}; use gzip, bzip2 "
            "or lzma."
        )
    if kind == "compression":
        return (
            f"The message is more than {options.inflated_bytes} bytes before its compression; "
            'send a reference, or raise the transport option "inflated_bytes" of workers.'
        )
    if kind == "too-deep":
        return (
            f"Arguments and linked tasks are nested deeper than {options.max_depth} levels; send "
            'fewer callbacks of callbacks, or raise the transport option "max_depth" of senders '
            "and workers."
        )
    if kind == "header-name":
        names = ", ".join(sorted(FORBIDDEN.intersection(map(str, headers)))) or "one"
        return f"Headers hide what Celery's request is called ({names}); give them other names."
    return f"Workers would not read the message: {_ADVICE.get(kind, kind)}."
