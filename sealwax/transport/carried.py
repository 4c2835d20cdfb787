"""What a copy of a message carries of the one before: how often it was tried, and what failed.

SQS counts receives, and nothing else can be written on a message that it holds. So
whatever is no attempt (a wait, a give-back), and whatever must be told apart (a
crash), makes a copy, which says what went before. Pure.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from sealwax.aws.clock import AWS_CLOCK
from sealwax.aws.sqs import bare_attributes, message_size
from sealwax.transport.codec import Malformed, decode, encode
from sealwax.transport.in_flight import Carried, Delivery
from sealwax.transport.options import MAX_DELAY, MAX_VISIBILITY, TransportOptions
from sealwax.transport.publishing import DELAYED
from sealwax.transport.validation import eta_of

__all__ = [
    "CARRIED",
    "carried_by_publication",
    "copy_fields",
    "is_copyable",
    "receives_charged",
    "take_carried",
]

#: Property of a copy: a mapping of `receives`, `retries`, `crashes`, `requeues`; `first` and
#: `unknown` (epoch s).
CARRIED = "sealwax-carried"

#: Bytes that a copy may be longer than its message.
ROOM = 1_024

#: Most bytes of JSON's ASCII for one character.
WIDEST = 12

#: Largest count that is believed.
MOST = 1_000_000


def take_carried(payload: dict[str, Any]) -> Carried | None:
    """Take what it carries out of a decoded message; None: nothing."""
    properties = payload.get("properties")
    if not isinstance(properties, dict) or CARRIED not in properties:
        return None
    said = properties.pop(CARRIED)
    if not isinstance(said, dict):
        return Carried()
    return Carried(
        receives=_count(said.get("receives")),
        retries=_count(said.get("retries")),
        crashes=_count(said.get("crashes")),
        requeues=_count(said.get("requeues")),
        first=_moment(said.get("first")),
        unknown=_moment(said.get("unknown")),
    )


def _moment(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        return 0.0
    return min(float(value), AWS_CLOCK())


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return max(0, min(value, MOST))


def carried_by_publication(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return what a copy carries that Celery publishes: its `retries` header counts those.

    Parameters
    ----------
    metadata
        `delivery_info["sqs"]` of the message.
    """
    return {
        "receives": metadata.get("receive_count", 1),
        "retries": 0,
        "crashes": metadata.get("crashes", 0),
    }


def receives_charged(metadata: dict[str, Any], eta: Any, *, delayed: Any) -> int:
    """Return how many retries came before, as far as is known.

    Neither the receives that only waited for a long eta are charged, nor those that
    this process knows as waits. A receive that ended with its worker's death is, except
    where nobody could have said that it was none (`proven_only`).

    Parameters
    ----------
    metadata
        `delivery_info["sqs"]`.
    eta
        The message's eta header.
    delayed
        Seconds of the eta that SQS itself waited for, as the sender says.
    """
    carried = metadata.get("retries_carried", 0)
    if metadata.get("proven_only"):
        return int(carried + metadata.get("retries_here", 0))
    before = int(metadata.get("receive_count", 1)) - 1 - metadata.get("receives_carried", 0)
    before = max(0, before - metadata.get("waits", 0) - metadata.get("crashes_here", 0))
    if before == 0 or not isinstance(eta, str):
        return int(carried + before)
    try:
        moment = eta_of({"eta": eta})
    except Malformed:
        return int(carried + before)
    waited = min(MAX_DELAY, delayed) if isinstance(delayed, int) else 0
    left = (moment or 0.0) - metadata.get("sent_at", 0.0) - waited
    # On other queues what is early for a second time is copied.
    hops = 0
    if left > 1:
        fifo = str(metadata.get("queue", "")).endswith(".fifo")
        hops = -int(-left // MAX_VISIBILITY) if fifo else 1
    return int(carried + max(0, before - hops))


def is_copyable(delivery: Delivery, options: TransportOptions) -> bool:
    """Whether the message may be replaced by a copy that carries its counts.

    Not where headers are not obeyed: there a ledger counts. Not on FIFO queues, whose order
    a copy would leave. Not where the copy might not fit.
    """
    if options.headers is not None or delivery.queue.endswith(".fifo"):
        return False
    body = delivery.body
    size = len(body) if body.isascii() else WIDEST * len(body)
    attributes = bare_attributes(delivery.attributes)
    if attributes:
        size += message_size({"MessageBody": "", "MessageAttributes": attributes})
    return size + ROOM <= options.message_bytes


def copy_fields(
    delivery: Delivery,
    *,
    delay: float,
    due: float | None = None,
    retried: bool = False,
    crashed: bool = False,
    requeued: bool = False,
) -> dict[str, Any]:
    """Return the SendMessageBatch entry of a message's copy.

    Parameters
    ----------
    delay
        Seconds that SQS keeps it; cut to 900, and to none on FIFO queues.
    due
        Its new eta, in epoch seconds; None: that of the message.
    retried, crashed, requeued
        How this receive ended; neither: it only waited.

    Raises
    ------
    Malformed
        It is no task message.
    """
    payload = decode(delivery.body)
    unread = take_carried(payload)
    carried = unread or delivery.carried or Carried()
    receives = delivery.receive_count + (unread.receives if unread else 0)
    headers = payload.get("headers")
    properties = payload.setdefault("properties", {})
    if not isinstance(headers, dict) or not isinstance(properties, dict):
        raise Malformed("headers")
    eta = headers.get("eta")
    metadata = delivery.metadata() | {
        "receive_count": receives,
        "receives_carried": carried.receives,
        "retries_carried": carried.retries,
    }
    retries = receives_charged(metadata, eta, delayed=properties.pop(DELAYED, None))
    if due is not None:
        headers["eta"] = datetime.fromtimestamp(due, UTC).isoformat()
    crashes = carried.crashes + delivery.crashes_here + crashed
    said = {"receives": receives, "retries": retries + retried, "crashes": crashes}
    requeues = carried.requeues + delivery.requeues_here + requeued
    if requeues:
        said["requeues"] = requeues
    properties[CARRIED] = said | {"first": carried.first or delivery.first_received_at}
    if delivery.unknown_since and not (retried or crashed or requeued):
        properties[CARRIED]["unknown"] = delivery.unknown_since
    fields: dict[str, Any] = {}
    if delivery.group:
        fields["MessageGroupId"] = delivery.group
    if delivery.queue.endswith(".fifo"):
        fields["MessageDeduplicationId"] = uuid.uuid4().hex
    else:
        seconds = max(0, min(MAX_DELAY, -int(-delay // 1)))
        if seconds:
            fields["DelaySeconds"] = properties[DELAYED] = seconds
    fields["MessageBody"] = encode(payload)
    attributes = bare_attributes(delivery.attributes)
    if attributes:
        fields["MessageAttributes"] = attributes
    return fields
