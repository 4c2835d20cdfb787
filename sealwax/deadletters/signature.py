"""The signature of a dead letter: what a worker says of a message, and who may say it.

The attribute of a sealed lane's dead letter is a statement of the kind
`letter`. Whoever can write to a dead-letter queue, or to the archive, can write
an attribute; so whoever reads one believes it only as `check_letter` returns
it. Signed by the worker; read by the steward, and by the worker that reveals.
Needs public keys alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sealwax.envelope.errors import EnvelopeError, EnvelopeMalformed, SignerNotTrusted
from sealwax.envelope.public_keys import VerifyKey
from sealwax.envelope.statement import (
    Kind,
    Signer,
    check_statement,
    read_statement,
    sign_statement,
)
from sealwax.errors import SealwaxError
from sealwax.ledger import is_job_id, read_generation
from sealwax.outcomes import Reason

__all__ = [
    "CAUSES",
    "LetterNotBelieved",
    "LetterVerifier",
    "SignedLetter",
    "body_digest",
    "check_letter",
    "sign_letter",
]

#: Why a letter is not believed.
CAUSES = frozenset(
    {
        "unsigned", "signature-invalid", "unknown-signer", "not-a-worker", "wrong-queue",
        "wrong-body", "wrong-lane",
    }
)  # fmt: skip


class LetterNotBelieved(SealwaxError):
    """Nobody who may has signed this dead letter as it stands; it is a stray.

    Parameters
    ----------
    cause
        One of `CAUSES`.
    """

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(f"The dead letter is not believed: {cause}.")


class LetterVerifier(Protocol):
    """What checking a letter asks of a keyring; `sealwax.keys.public.PublicKeyring` is one."""

    def letter_signer(self, signer_id: str, lane: str | None = None) -> VerifyKey:
        """Return the key of a worker that may sign letters of a lane; raises EnvelopeError."""

    def statement_key(self, kind: Kind, signer_id: str) -> VerifyKey:
        """Return the key of a signer who may make such statements; raises EnvelopeError."""


@dataclass(frozen=True, kw_only=True)
class SignedLetter:
    """What a worker has signed of a message that it dead-lettered.

    Parameters
    ----------
    own
        Whether it was the job's own message, and the job was dead in this
        generation; else it is a stray, and `job` no more than what it claimed.
    generation
        The ledger entry's where it is own, else 0.
    body
        SHA-256 of the message's body, 64 hex digits.
    at
        Epoch seconds of the death.
    signer
        Id of the worker's key.
    """

    reason: Reason
    own: bool
    generation: int
    queue: str
    body: str
    at: float
    attempts: int
    signer: str
    job: str | None = None
    task: str | None = None
    cause: str | None = None
    error: str | None = None
    place: str | None = None
    message_id: str | None = None


def body_digest(body: bytes) -> str:
    """Return a body's SHA-256, 64 hex digits."""
    return hashlib.sha256(body).hexdigest()


def sign_letter(
    members: Mapping[str, Any],
    *,
    body: bytes,
    queue: str,
    own: bool,
    generation: int,
    signer: Signer,
) -> dict[str, Any]:
    """Return the members of a letter's attribute, signed.

    Parameters
    ----------
    members
        As the transport has them; `at` is epoch seconds.
    body
        The message's body.
    queue
        Name of the queue that it leaves.
    own, generation
        See `SignedLetter`.
    signer
        The worker's signing key.

    Raises
    ------
    ValueError
        Where a member could not be checked again: says which.
    """
    said = {name: value for name, value in members.items() if name not in ("at", "sid", "sig")}
    # A statement has no fractions.
    said["at_ms"] = round(members["at"] * 1_000)
    said |= {"own": own, "generation": generation, "body": body_digest(body), "queue": queue}
    return sign_statement("letter", said, signer)


def check_letter(
    said: str | None, *, body: bytes, queue: str, lane: str | None, verifier: LetterVerifier
) -> SignedLetter:
    """Return what a worker has signed of this message.

    Parameters
    ----------
    said
        The value of the attribute `sealwax-dead-letter`, JSON; None: there is none.
    body
        The message's body as it was received.
    queue
        Name of the queue whose dead letter it is.
    lane
        The lane of that queue: a worker of another lane is not believed there;
        None, where no lane has it: nobody's key but one of all lanes is.
    verifier
        Public keys, and whose they are.

    Raises
    ------
    LetterNotBelieved
        Says why: nothing of the attribute counts then.
    """
    try:
        fields = read_statement(said) if said is not None else {}
    except EnvelopeMalformed:
        raise LetterNotBelieved("unsigned") from None
    if "sid" not in fields or "sig" not in fields:
        raise LetterNotBelieved("unsigned")
    _check_signer(fields["sid"], lane, verifier)
    try:
        signer = check_statement("letter", fields, verifier)
    except EnvelopeError:
        raise LetterNotBelieved("signature-invalid") from None
    if fields.get("queue") != queue:
        raise LetterNotBelieved("wrong-queue")
    if fields.get("body") != body_digest(body):
        raise LetterNotBelieved("wrong-body")
    return _letter(fields, signer)


def _check_signer(signer_id: Any, lane: str | None, verifier: LetterVerifier) -> None:
    if not isinstance(signer_id, str):
        raise LetterNotBelieved("signature-invalid")
    try:
        verifier.letter_signer(signer_id)
    except SignerNotTrusted:
        raise LetterNotBelieved("not-a-worker") from None
    except EnvelopeError:
        raise LetterNotBelieved("unknown-signer") from None
    try:
        # No lane has an empty name: only keys of all lanes fit.
        verifier.letter_signer(signer_id, lane or "")
    except SignerNotTrusted:
        raise LetterNotBelieved("wrong-lane") from None


def _letter(fields: Mapping[str, Any], signer: str) -> SignedLetter:
    """Return the letter of verified fields; a worker of ours wrote them, or a release of later."""
    reason = Reason.read(fields.get("reason"))
    generation = read_generation(fields.get("generation"))
    died, attempts, job = fields.get("at_ms"), fields.get("attempts"), _text(fields, "job")
    own = fields.get("own") is True
    if reason is None or generation is None or type(died) is not int or died <= 0:
        raise LetterNotBelieved("signature-invalid")
    if own and (job is None or not is_job_id(job) or not reason.verified):
        raise LetterNotBelieved("signature-invalid")
    return SignedLetter(
        reason=reason,
        own=own,
        generation=generation if own else 0,
        queue=fields["queue"],
        body=fields["body"],
        at=died / 1_000,
        attempts=attempts if type(attempts) is int and attempts >= 0 else 0,
        signer=signer,
        job=job,
        **{name: _text(fields, name) for name in _TEXTS},
    )


_TEXTS = ("task", "cause", "error", "place", "message_id")


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and value else None
