"""Whose a message is, as a worker asks: `sealwax.keys.provenance` with the worker's own means."""

from __future__ import annotations

from sealwax.envelope import Context
from sealwax.keys import provenance as rule
from sealwax.keys.provenance import Own, Stray, only_argument
from sealwax.ledger import LedgerEntry
from sealwax.runtime import Runtime

__all__ = [
    "Own",
    "Stray",
    "disagreement",
    "judge",
    "lane_of",
    "only_argument",
    "verified_context",
]


def verified_context(runtime: Runtime, *, job: str, task: str, argument: str) -> Context:
    """Return what the signature of a message's envelope binds it to.

    Raises
    ------
    EnvelopeError, PayloadStoreError
        The message is a stray.
    PayloadStoreUnreachable
        Nobody knows yet.
    """
    return rule.verified_context(runtime.evidence, job=job, task=task, argument=argument)


def judge(runtime: Runtime, body: str) -> Own | Stray:
    """Judge a message by its own bytes.

    Raises
    ------
    PayloadStoreUnreachable
        Nobody knows yet.
    """
    return rule.judge(runtime.evidence, body)


def lane_of(runtime: Runtime, queue: str | None) -> str | None:
    """Return the lane whose queue this is; None where that is not known."""
    return rule.lane_of(runtime.settings, queue)


def disagreement(
    entry: LedgerEntry, context: Context, *, queue: str | None, runtime: Runtime
) -> Stray | None:
    """Return why a verified message is not this entry's after all; None where it is.

    Parameters
    ----------
    queue
        The queue that it came from; None where that is not known.
    """
    return rule.disagreement(entry, context, queue=queue, settings=runtime.settings)
