"""Which dead letter a worker may open: one that a worker signed, of a job that is dead in it.

Called by the worker's revealing before anything is opened. It believes neither
the archive's row nor the API: the letter's signature says whose it is, the
envelope's what it is bound to, and the ledger that the job is dead. What was
recorded of a job that succeeded, waits or runs is no such letter.
"""

from __future__ import annotations

from sealwax.deadletters.archive import Archive
from sealwax.deadletters.errors import NoSuchLetter, RevealRefused
from sealwax.deadletters.signature import LetterNotBelieved, SignedLetter, check_letter
from sealwax.keys.public import PublicKeyring
from sealwax.ledger import JobState
from sealwax.runtime import Runtime
from sealwax.worker.provenance import Own, Stray, disagreement, judge, lane_of

__all__ = ["letter_to_open"]


def letter_to_open(
    runtime: Runtime,
    archive: Archive,
    letter_id: str,
    *,
    keyring: PublicKeyring,
    queue: str | None,
) -> Own:
    """Return the message of a letter that may be opened; nothing of it is open yet.

    Parameters
    ----------
    keyring
        Says which workers may sign letters.
    queue
        The worker's own; letters of others are refused. None: of whichever.

    Raises
    ------
    sealwax.deadletters.errors.RevealRefused
        Its cause says why.
    sealwax.ledger.LedgerError, sealwax.outbox.payloads.PayloadStoreUnreachable
    sealwax.deadletters.errors.LettersUnreachable
        Nobody knows yet.
    """
    try:
        letter, text = archive.get(letter_id), archive.body(letter_id)
    except NoSuchLetter:
        raise RevealRefused("no-such-letter") from None
    except (KeyError, TypeError, ValueError):
        # A row that no steward wrote.
        raise RevealRefused("malformed") from None
    if queue is not None and letter.queue != queue:
        raise RevealRefused("wrong-lane")
    try:
        signed = check_letter(
            text.said,
            body=text.body,
            queue=letter.queue,
            lane=lane_of(runtime, letter.queue),
            verifier=keyring,
        )
    except LetterNotBelieved as error:
        raise RevealRefused(error.cause) from None
    try:
        found = judge(runtime, text.body.decode())
    except UnicodeDecodeError:
        raise RevealRefused("malformed") from None
    if isinstance(found, Stray):
        raise RevealRefused(found.cause)
    _check_named(letter_id, signed, found)
    entry = runtime.ledger.get(found.context.job)
    if entry is None:
        raise RevealRefused("unknown-job")
    stray = disagreement(entry, found, queue=letter.queue, runtime=runtime)
    if stray is not None:
        raise RevealRefused(stray.cause)
    if entry.tenant != found.context.tenant:
        raise RevealRefused("erased")
    if entry.state is not JobState.DEAD or entry.generation != signed.generation:
        raise RevealRefused("job-not-dead")
    return found


def _check_named(letter_id: str, signed: SignedLetter, found: Own) -> None:
    """Raise where letter, signature and message do not speak of one job and one generation."""
    if not signed.own:
        raise RevealRefused("stray")
    if (signed.job, signed.generation) != (found.context.job, found.generation):
        raise RevealRefused("context-mismatch")
    # What the audit log names is what is opened: a row under another name is refused.
    place = f"{signed.job}.{signed.generation}"
    if letter_id != place and not letter_id.startswith(f"{place}."):
        raise RevealRefused("wrong-place")
