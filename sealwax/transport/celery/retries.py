"""Retries without copies: what counts as one, and which must be a copy after all. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from celery.exceptions import MaxRetriesExceededError, Retry

from sealwax.aws.backoff import backoff
from sealwax.transport.carried import CARRIED, carried_by_publication
from sealwax.transport.publishing import DEDUPLICATION, GROUP

__all__ = [
    "CopiedRetry",
    "copied",
    "crash_delay",
    "is_exhausted",
    "mark_exhausted",
    "marked",
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
    """Give the signature of a copy the group and the counts of its message, and no id of old.

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
    options[CARRIED] = carried_by_publication(metadata)
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


def crash_delay(crashes: int, *, base: float = 1.0, cap: float = 300.0) -> float:
    """Return the seconds to wait after an attempt that was lost."""
    return backoff(crashes - 1, base=base, cap=cap)
