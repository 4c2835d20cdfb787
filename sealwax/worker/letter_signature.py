"""Signing of dead letters: the worker says whose message it was, and vouches for it.

Called by the transport for every message of a sealed lane that is
dead-lettered, whoever asked for that: a child, Celery, or the transport itself.
It judges the message's own bytes, so none of these can make a stray the job's
own.
"""

from __future__ import annotations

from typing import Any

from sealwax.deadletters.signature import sign_letter
from sealwax.ledger import JobState
from sealwax.outcomes import DeadLetter
from sealwax.runtime import Runtime
from sealwax.transport.dead_letters import DeadLetterEvent
from sealwax.worker.provenance import Own, disagreement, judge

__all__ = ["dead_generation", "signed_members"]


def dead_generation(runtime: Runtime, body: str, letter: DeadLetter, *, queue: str) -> int | None:
    """Return in which generation the job is dead whose own message this is.

    None where it is nobody's: a stray, a message of a job that the ledger does
    not know, or one of a job that is not dead, or not in the message's generation.

    Raises
    ------
    LedgerError, PayloadStoreUnreachable
        Nobody knows yet.
    """
    if not letter.reason.verified:
        return None
    found = judge(runtime, body)
    if not isinstance(found, Own):
        return None
    entry = runtime.ledger.get(found.context.job)
    if entry is None or disagreement(entry, found, queue=queue, runtime=runtime):
        return None
    if entry.state is not JobState.DEAD or entry.generation != found.generation:
        return None
    return entry.generation


def signed_members(
    runtime: Runtime, event: DeadLetterEvent, members: dict[str, Any]
) -> dict[str, Any]:
    """Return the members of a dead letter's attribute, signed with the worker's key.

    Raises
    ------
    LedgerError, PayloadStoreUnreachable
        Nobody knows yet whose message it is: it waits.
    """
    generation = dead_generation(runtime, event.body, event.letter, queue=event.queue)
    return sign_letter(
        members,
        body=event.body.encode("utf-8", "surrogatepass"),
        queue=event.queue,
        own=generation is not None,
        generation=generation or 0,
        signer=runtime.keyring.signer,
    )
