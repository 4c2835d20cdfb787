"""Retries without copies: what counts as one, and which must be a copy after all. Pure."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any

from celery.exceptions import MaxRetriesExceededError, Retry

from sealwax.aws.backoff import backoff
from sealwax.transport.options import MAX_DELAY, MAX_VISIBILITY
from sealwax.transport.publishing import DEDUPLICATION, GROUP

__all__ = [
    "CopiedRetry",
    "copied",
    "crash_delay",
    "is_exhausted",
    "mark_exhausted",
    "marked",
    "receives_charged",
]


class CopiedRetry(Retry):
    """A retry that was published as a new message: the old one is done."""


def marked(error: Any) -> Any:
    """Return what an attempt raised; a retry that Celery has published, as a copied one.

    A class that calls `celery.Task.retry` itself goes past ours. Only the child sees the
    published signature: pickling drops it.
    """
    if isinstance(error, Retry) and error.sig is not None and not isinstance(error, CopiedRetry):
        return CopiedRetry(exc=error.exc or error.excs, when=error.when)
    return error


def copied(signature: Any, metadata: Any, *, asked: Mapping[str, Any]) -> Any:
    """Give the signature of a copy the group of its message, and no deduplication id of old.

    Parameters
    ----------
    metadata
        `delivery_info["sqs"]` of the message; None where it came another way.
    asked
        Options that the caller gave for the copy: they stay.
    """
    if not metadata:
        return signature
    options = signature.options
    for name in ("sqs", "redelivered"):  # facts of the receive, not of the message
        options.pop(name, None)
    if "headers" not in asked and options.get("headers"):
        options["headers"] = {
            name: value
            for name, value in options["headers"].items()
            if name not in GROUP + DEDUPLICATION
        }
    group = metadata.get("group")
    asks = {*asked, *(asked.get("headers") or ())}
    if group and not asks.intersection(GROUP):
        options[GROUP[0]] = group
    return signature


#: Travels with the exception from the child to the worker's main process.
_EXHAUSTED = "_sealwax_exhausted"


def mark_exhausted(error: BaseException) -> BaseException:
    """Note on an exception that it ends the last of several attempts."""
    # A class with slots takes no mark: the letter says `rejected` then.
    with contextlib.suppress(AttributeError):
        setattr(error, _EXHAUSTED, True)
    return error


def is_exhausted(error: BaseException) -> bool:
    """Whether an exception ends the last of several attempts."""
    return isinstance(error, MaxRetriesExceededError) or getattr(error, _EXHAUSTED, False) is True


def receives_charged(metadata: dict[str, Any], eta: Any, *, delayed: Any) -> int:
    """Return how many attempts came before, as far as receives tell.

    Releases at a shutdown are charged as well. The receives that only waited
    for a long eta are not.

    Parameters
    ----------
    metadata
        `delivery_info["sqs"]`.
    eta
        The message's eta header.
    delayed
        Seconds of the eta that SQS itself waited for, as the sender says.
    """
    before = max(0, int(metadata.get("receive_count", 1)) - 1)
    if before == 0 or not isinstance(eta, str):
        return before
    from sealwax.transport.codec import Malformed
    from sealwax.transport.validation import eta_of

    try:
        moment = eta_of({"eta": eta})
    except Malformed:
        return before
    waited = min(MAX_DELAY, delayed) if isinstance(delayed, int) else 0
    left = (moment or 0.0) - metadata.get("sent_at", 0.0) - waited
    hops = math.ceil(left / MAX_VISIBILITY) if left > 1 else 0
    return max(0, before - hops)


def crash_delay(receive_count: int, *, base: float = 1.0, cap: float = 300.0) -> float:
    """Return the seconds to wait after an attempt that was lost."""
    return backoff(receive_count - 1, base=base, cap=cap)
