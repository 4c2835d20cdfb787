"""Sealing and opening: HPKE to the recipient, signed by the sender.

`docs/envelope.md` specifies it byte for byte. The order of checks in
`open_envelope` is part of it: nothing is decrypted that a trusted key has not
signed for exactly this use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidTag

from sealwax.envelope.errors import DecryptionFailed, EnvelopeExpired, EnvelopeMalformed
from sealwax.envelope.format import (
    SIGNATURE_BYTES,
    VERSION,
    Context,
    Header,
    encode_header,
    join,
    split,
)
from sealwax.envelope.private_keys import PrivateKey, SigningKey
from sealwax.envelope.public_keys import PublicKey
from sealwax.envelope.verify import Expected, Verifier, signed_bytes, verify_parts

__all__ = ["Opened", "Opener", "open_envelope", "peek", "seal", "sealed_size"]

#: Domain label: a ciphertext of ours never fits another protocol.
_INFO_LABEL = b"sealwax envelope v1 info\x00"


class Opener(Verifier, Protocol):
    """What opening asks of a keyring."""

    def private(self, key_id: str) -> PrivateKey:
        """Return our private key; raises UnknownKey or KeyRetired."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An opened envelope: everything in it was signed by a trusted key."""

    plaintext: bytes
    context: Context
    recipient_id: str
    signer_id: str

    def __repr__(self) -> str:
        return f"Opened({self.context.job}, {len(self.plaintext)} bytes)"


def seal(plaintext: bytes, context: Context, *, recipient: PublicKey, signer: SigningKey) -> str:
    """Encrypt to the recipient, bind the context, sign; return the text form.

    Sealing the same plaintext twice gives different texts.
    """
    header = encode_header(
        Header(suite=recipient.suite, recipient=recipient.id, signer=signer.id, context=context)
    )
    sealed = recipient.suite.hpke.encrypt(plaintext, recipient.handle(), _INFO_LABEL + header)
    return join(header, sealed, signer.sign(signed_bytes(header, sealed)))


def sealed_size(
    plaintext_bytes: int, context: Context, recipient: PublicKey, signer: SigningKey
) -> int:
    """Return the exact length of the text that `seal` would give, in characters (= bytes)."""
    header = encode_header(
        Header(suite=recipient.suite, recipient=recipient.id, signer=signer.id, context=context)
    )
    lengths = (len(header), plaintext_bytes + recipient.suite.overhead, SIGNATURE_BYTES)
    return len(VERSION) + sum(1 + (4 * length + 2) // 3 for length in lengths)


def open_envelope(
    text: str, *, keyring: Opener, expect: Expected, now: float, skew: float = 0.0
) -> Opened:
    """Verify and decrypt an envelope.

    Parameters
    ----------
    keyring
        The opener's keys and trust list.
    expect
        What the message claims to be.
    now
        Epoch seconds, compared with not-after; 0 where the caller compares itself.
    skew
        Seconds by which the sealing and the opening clock may differ.

    Raises
    ------
    EnvelopeError
        One class a cause; checked in this order: form, version, signer,
        signature, trust, context, not-after, key, ciphertext.
    """
    parts = verify_parts(text, keyring=keyring, expect=expect)
    header, context = parts.header, parts.header.context
    if now > context.not_after + skew:
        raise EnvelopeExpired
    private = keyring.private(header.recipient)
    if private.suite is not header.suite:
        raise EnvelopeMalformed
    try:
        plaintext = private.decrypt(parts.sealed, _INFO_LABEL + parts.header_bytes)
    except (InvalidTag, ValueError):
        raise DecryptionFailed from None
    return Opened(
        plaintext=plaintext,
        context=context,
        recipient_id=header.recipient,
        signer_id=header.signer,
    )


def peek(text: str) -> Header:
    """Return the header without verifying anything: for diagnostics only.

    Raises
    ------
    EnvelopeMalformed, EnvelopeVersionUnsupported
    """
    return split(text).header
