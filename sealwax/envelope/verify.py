"""Verifying an envelope without opening it: who signed it, for which job, and may they.

Needs public keys alone, so every role may do it: the steward and the dead
letters judge by it whose message they see. Nothing here decrypts, and nothing
here imports what could.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature

from sealwax.envelope.errors import ContextMismatch, SignatureInvalid
from sealwax.envelope.format import Context, Header, Parts, Purpose, split
from sealwax.envelope.public_keys import VerifyKey

__all__ = ["Expected", "Verified", "Verifier", "signed_bytes", "verify_envelope", "verify_parts"]

#: Domain label: a signature of an envelope never fits another protocol.
_SIGN_LABEL = b"sealwax envelope v1 signature\x00"


class Verifier(Protocol):
    """What verifying asks of a keyring: public keys and the trust list."""

    def verifier(self, signer_id: str) -> VerifyKey:
        """Return a signer's key; raises UnknownSigner or KeyRetired."""

    def check_trust(self, signer_id: str, context: Context) -> None:
        """Raise SignerNotTrusted where the signer may not sign this."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the reader knows of the message; None is not compared."""

    purpose: Purpose
    task: str | None = None
    job: str | None = None
    tenant: str | None = None


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A verified envelope: its header was signed by a trusted key; its payload is still closed.

    Parameters
    ----------
    digest
        SHA-256 of the text, 64 hex digits.
    """

    header: Header
    digest: str

    @property
    def context(self) -> Context:
        """What the signature binds the payload to."""
        return self.header.context

    @property
    def signer_id(self) -> str:
        """The id of the key that signed."""
        return self.header.signer


def signed_bytes(header: bytes, sealed: bytes) -> bytes:
    """Return what an envelope's signature is made over."""
    # Lengths first: no two pairs of parts give the same message.
    return b"".join(
        (_SIGN_LABEL, len(header).to_bytes(8, "big"), header, len(sealed).to_bytes(8, "big"),
         sealed)
    )  # fmt: skip


def verify_envelope(text: str, *, keyring: Verifier, expect: Expected) -> Verified:
    """Verify whose envelope this is, without opening it.

    Not-after is not compared: whether an envelope is late depends on what the
    ledger says of its job, which the caller knows.

    Parameters
    ----------
    keyring
        Public keys and the trust list.
    expect
        What the message claims to be.

    Raises
    ------
    EnvelopeError
        One class a cause; checked in this order: form, version, signer,
        signature, trust, context.
    """
    parts = verify_parts(text, keyring=keyring, expect=expect)
    # Only ASCII is left once the parts were read.
    return Verified(header=parts.header, digest=hashlib.sha256(text.encode()).hexdigest())


def verify_parts(text: str, *, keyring: Verifier, expect: Expected) -> Parts:
    """Return the parts of an envelope that `verify_envelope` would believe; for `open_envelope`.

    Raises
    ------
    EnvelopeError
        As `verify_envelope`.
    """
    parts = split(text)
    header, context = parts.header, parts.header.context
    try:
        keyring.verifier(header.signer).verify(
            parts.signature, signed_bytes(parts.header_bytes, parts.sealed)
        )
    except InvalidSignature:
        raise SignatureInvalid from None
    keyring.check_trust(header.signer, context)
    for name in ("purpose", "task", "job", "tenant"):
        wanted = getattr(expect, name)
        if wanted is not None and getattr(context, name) != wanted:
            raise ContextMismatch(name)
    return parts
