"""The public key types of envelopes: whom to seal to (HPKE), whose signature it is (Ed25519).

Wraps `cryptography`'s objects with an id that is a thumbprint, so that a key
cannot be passed off as another, and with a repr that shows nothing else. Used by
every role; nothing private is made or kept here, and nothing here imports what
could.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["PublicKey", "Suite", "VerifyKey", "thumbprint"]

#: Bytes of an ML-KEM-768 encapsulation key (FIPS 203, table 3).
_MLKEM_PUBLIC_BYTES = 1184


class Suite(Enum):
    """An HPKE suite by name: KEM, KDF, AEAD numbers (RFC 9180, section 7)."""

    #: X-Wing: ML-KEM-768 with X25519 (draft-connolly-cfrg-xwing-kem), HKDF-SHA256, AES-256-GCM.
    X_WING = ("x-wing", 0x647A, 0x0001, 0x0002)
    #: X25519 of RFC 9180 with the same KDF and AEAD.
    X25519 = ("x25519", 0x0020, 0x0001, 0x0002)

    @property
    def label(self) -> str:
        """The name in settings and key documents."""
        return self.value[0]

    @property
    def numbers(self) -> tuple[int, int, int]:
        """(KEM, KDF, AEAD) as in the header."""
        return self.value[1:]

    @property
    def hpke(self) -> hpke.Suite:
        """The implementation."""
        kem = hpke.KEM.MLKEM768_X25519 if self is Suite.X_WING else hpke.KEM.X25519
        return hpke.Suite(kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)

    @property
    def overhead(self) -> int:
        """Bytes that sealing adds: the encapsulated key and the 16-byte AEAD tag."""
        return (1120 if self is Suite.X_WING else 32) + 16

    @classmethod
    def by_label(cls, label: str) -> Suite:
        """Return the suite of a name; KeyError where there is none."""
        return {suite.label: suite for suite in cls}[label]

    @classmethod
    def by_numbers(cls, numbers: tuple[int, int, int]) -> Suite | None:
        """Return the suite of header numbers, or None."""
        return {suite.numbers: suite for suite in cls}.get(numbers)


def thumbprint(kind: str, public: bytes) -> str:
    """Return a key's id: 16 hex digits of SHA-256 over its kind and public bytes."""
    return hashlib.sha256(f"sealwax key {kind}\n".encode() + public).hexdigest()[:16]


@dataclass(frozen=True)
class PublicKey:
    """A recipient's public key."""

    id: str
    suite: Suite
    raw: bytes

    def __repr__(self) -> str:
        return f"PublicKey({self.id})"

    @classmethod
    def from_bytes(cls, suite: Suite, raw: bytes) -> PublicKey:
        """Read the KEM's public bytes; ValueError where they are none."""
        key = cls(thumbprint(suite.label, raw), suite, raw)
        key.handle()  # refuses what is no key, now rather than at the first job
        return key

    def handle(self) -> Any:
        """Return `cryptography`'s object."""
        if self.suite is Suite.X25519:
            return x25519.X25519PublicKey.from_public_bytes(self.raw)
        return hpke.MLKEM768X25519PublicKey(
            mlkem.MLKEM768PublicKey.from_public_bytes(self.raw[:_MLKEM_PUBLIC_BYTES]),
            x25519.X25519PublicKey.from_public_bytes(self.raw[_MLKEM_PUBLIC_BYTES:]),
        )


class VerifyKey:
    """A signer's public key."""

    def __init__(self, raw: bytes) -> None:
        self._handle = Ed25519PublicKey.from_public_bytes(raw)
        self.raw = raw
        self.id = thumbprint("ed25519", raw)

    def __repr__(self) -> str:
        return f"VerifyKey({self.id})"

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raise cryptography's InvalidSignature where it does not fit."""
        self._handle.verify(signature, message)
