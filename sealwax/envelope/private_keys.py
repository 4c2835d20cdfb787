"""The private key types of envelopes: what opens (HPKE) and what signs (Ed25519).

Held by the API, the workers and an operator's machine, each its own; the steward
and the dead letters must never import this module.
"""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealwax.envelope.public_keys import PublicKey, Suite, VerifyKey, thumbprint

__all__ = ["PrivateKey", "SigningKey"]

#: Bytes of a private HPKE key's seed, both suites; of an Ed25519 seed too.
SEED_BYTES = 32


class PrivateKey:
    """A recipient's private key, made from a 32-byte seed.

    For X-Wing both halves come from the one seed by SHAKE256, as its draft
    says (section 5.2), so that other implementations can load it.
    """

    def __init__(self, suite: Suite, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError("a private key's seed has 32 bytes")
        self.suite = suite
        self._handle: Any
        if suite is Suite.X25519:
            self._handle = x25519.X25519PrivateKey.from_private_bytes(seed)
            raw = self._handle.public_key().public_bytes_raw()
        else:
            expanded = hashlib.shake_256(seed).digest(96)
            pq = mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
            classic = x25519.X25519PrivateKey.from_private_bytes(expanded[64:])
            self._handle = hpke.MLKEM768X25519PrivateKey(pq, classic)
            raw = pq.public_key().public_bytes_raw() + classic.public_key().public_bytes_raw()
        self.public = PublicKey(thumbprint(suite.label, raw), suite, raw)

    @property
    def id(self) -> str:
        """The key's id, shared with its public half."""
        return self.public.id

    def __repr__(self) -> str:
        return f"PrivateKey({self.id})"

    def decrypt(self, sealed: bytes, info: bytes) -> bytes:
        """Open HPKE's single-shot form; cryptography's InvalidTag where it does not fit."""
        return self.suite.hpke.decrypt(sealed, self._handle, info)


class SigningKey:
    """A signer's private key, made from a 32-byte seed."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError("a signing key's seed has 32 bytes")
        self._handle = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = VerifyKey(self._handle.public_key().public_bytes_raw())

    @property
    def id(self) -> str:
        """The key's id, shared with its public half."""
        return self.public.id

    def __repr__(self) -> str:
        return f"SigningKey({self.id})"

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature."""
        return self._handle.sign(message)
