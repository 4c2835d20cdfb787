"""From a kombu message to an SQS entry: body, delay, group, deduplication, size.

Pure. Called for every send, single or bulk.
"""

from __future__ import annotations

import contextlib
import math
import uuid
from typing import Any

from sealwax.aws.sqs import message_size
from sealwax.transport.codec import Malformed, encode
from sealwax.transport.errors import MessageTooLarge
from sealwax.transport.options import MAX_DELAY, TransportOptions
from sealwax.transport.validation import eta_of

__all__ = ["DELAYED", "entry_fields"]

#: Property that tells the receiver how much of an eta SQS has already waited for.
DELAYED = "sealwax-delayed"

#: Properties and headers that callers use; the second of each is stock kombu's.
GROUP = ("sealwax-group", "MessageGroupId")
DEDUPLICATION = ("sealwax-dedup", "MessageDeduplicationId")


def entry_fields(
    message: dict[str, Any], *, fifo: bool, options: TransportOptions, now: float
) -> tuple[dict[str, Any], int]:
    """Return the fields of a SendMessageBatch entry and its size in bytes.

    Raises
    ------
    MessageTooLarge
        Where body and attributes exceed `message_bytes`.
    """
    properties = message.get("properties") or {}
    attributes = properties.pop("message_attributes", None)
    group = _pick(message, GROUP)
    deduplication = _pick(message, DEDUPLICATION)
    fields: dict[str, Any] = {}
    if fifo:
        # Without an ordering key a message is a group of its own: one group
        # for all would let a single message hold up the whole queue.
        fields["MessageGroupId"] = group or _identity(message)
        fields["MessageDeduplicationId"] = deduplication or uuid.uuid4().hex
    else:
        if group and options.fair_queues:
            fields["MessageGroupId"] = group
        delay = _delay(message, now)
        if delay:
            fields["DelaySeconds"] = delay
            properties[DELAYED] = delay
    fields["MessageBody"] = encode(message)
    if attributes:
        fields["MessageAttributes"] = attributes
    size = message_size(fields)
    if size > options.message_bytes:
        raise MessageTooLarge(
            f"The message is {size} bytes; one SQS message holds at most "
            f"{options.message_bytes}. Send a reference instead of the data."
        )
    return fields, size


def _pick(message: dict[str, Any], names: tuple[str, str]) -> str | None:
    for place in (message.get("properties") or {}, message.get("headers") or {}):
        for name in names:
            value = place.pop(name, None) if name == names[0] else place.get(name)
            if value:
                return str(value)
    return None


def _identity(message: dict[str, Any]) -> str:
    found = (message.get("headers") or {}).get("id")
    return str(found) if found else uuid.uuid4().hex


def _delay(message: dict[str, Any], now: float) -> int:
    """Let SQS wait for the first part of an eta: cheaper than receiving it too early."""
    properties = message.get("properties") or {}
    wanted = 0.0
    for name in ("delay_seconds", "DelaySeconds"):
        value = properties.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            wanted = float(value)
    headers = message.get("headers") or {}
    eta = None
    if headers.get("eta") is not None:
        with contextlib.suppress(Malformed):
            eta = eta_of(headers)
    if eta is not None:
        wanted = max(wanted, eta - now)
    return max(0, min(MAX_DELAY, math.ceil(wanted)))
