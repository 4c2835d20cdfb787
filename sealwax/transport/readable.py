"""Whether workers would read a message that is about to be sent.

What `validation` refuses at the worker is a dead letter hours later; here it is an
error that says what to change. Asks only what a sender can get wrong without
noticing. Pure.
"""

from __future__ import annotations

from typing import Any

from sealwax.transport.bodies import COMPRESSIONS, body_of
from sealwax.transport.codec import Malformed, loads
from sealwax.transport.errors import MessageRefused
from sealwax.transport.options import TransportOptions

__all__ = ["check_readable"]


def check_readable(message: dict[str, Any], options: TransportOptions) -> None:
    """Check content type, compression, and the depth of a JSON body.

    Raises
    ------
    MessageRefused
        Says what to change.
    """
    content_type = message.get("content-type")
    if content_type not in options.accept:
        raise MessageRefused(
            f"Workers read {', '.join(options.accept)}, and this is {content_type}; send it "
            'with serializer="json", or name its type in the transport option "accept" of senders '
            "and workers."
        )
    headers = message.get("headers") or {}
    body = message.get("body")
    compression = headers.get("compression")
    if compression:
        if compression not in COMPRESSIONS:
            raise MessageRefused(
                f"Workers cannot undo the compression {compression!r}; use gzip, bzip2 or lzma."
            )
        try:
            body = body_of(
                {"body": body, "properties": message.get("properties") or {}},
                dict(headers),
                options.inflated_bytes,
            ).decode("utf-8", "replace")
        except Malformed:
            raise MessageRefused(
                f"The message is more than {options.inflated_bytes} bytes before its compression; "
                'send a reference, or raise the transport option "inflated_bytes" of workers.'
            ) from None
    if content_type == "application/json" and isinstance(body, str):
        _check_json(body, options.max_depth)


def _check_json(body: str, max_depth: int) -> None:
    try:
        loads(body, max_depth=max_depth)
    except Malformed as finding:
        if finding.kind == "too-deep":
            raise MessageRefused(
                f"Arguments and linked tasks are nested deeper than {max_depth} levels; send fewer "
                'callbacks of callbacks, or raise the transport option "max_depth" of senders and '
                "workers."
            ) from None
        raise MessageRefused(
            "The body is no JSON that a worker reads; send it with Celery's own serializer."
        ) from None
