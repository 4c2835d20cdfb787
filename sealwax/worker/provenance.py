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
    "born_by",
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
    PayloadStoreUnreachable, LedgerError
        Nobody knows yet.
    """
    return rule.verified_context(runtime.evidence, job=job, task=task, argument=argument)


def judge(runtime: Runtime, body: str) -> Own | Stray:
    """Judge a message by its own bytes.

    Raises
    ------
    PayloadStoreUnreachable, LedgerError
        Nobody knows yet.
    """
    return rule.judge(runtime.evidence, body)


def lane_of(runtime: Runtime, queue: str | None) -> str | None:
    """Return the lane whose queue this is; None where that is not known."""
    return rule.lane_of(runtime.settings, queue)


def born_by(context: Context, runtime: Runtime) -> float:
    """Return the latest acceptance, in epoch seconds, of the job that a message can be of."""
    return rule.born_by(context, runtime.settings)


def disagreement(
    entry: LedgerEntry, own: Own, *, queue: str | None, runtime: Runtime
) -> Stray | None:
    """Return why a verified message is not this entry's after all; None where it is.

    Parameters
    ----------
    queue
        The queue that it came from; None where that is not known.
    """
    return rule.disagreement(entry, own, queue=queue, settings=runtime.settings)
