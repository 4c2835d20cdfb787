"""The sealed envelope: encrypted to one role, signed by another, bound to one job.

The API seals jobs for workers, workers seal results for the API. Specified in
`docs/envelope.md`. Nothing here reads keys from anywhere or knows of AWS.
"""

from sealwax.envelope.errors import (
    ContextMismatch,
    DecryptionFailed,
    EnvelopeError,
    EnvelopeExpired,
    EnvelopeMalformed,
    EnvelopeVersionUnsupported,
    KeyRetired,
    SignatureInvalid,
    SignerNotTrusted,
    UnknownKey,
    UnknownSigner,
)
from sealwax.envelope.format import Context, Header, Purpose
from sealwax.envelope.keys import PrivateKey, PublicKey, SigningKey, Suite, VerifyKey
from sealwax.envelope.seal import Expected, Opened, open_envelope, peek, seal, sealed_size

__all__ = [
    "Context",
    "ContextMismatch",
    "DecryptionFailed",
    "EnvelopeError",
    "EnvelopeExpired",
    "EnvelopeMalformed",
    "EnvelopeVersionUnsupported",
    "Expected",
    "Header",
    "KeyRetired",
    "Opened",
    "PrivateKey",
    "PublicKey",
    "Purpose",
    "SignatureInvalid",
    "SignerNotTrusted",
    "SigningKey",
    "Suite",
    "UnknownKey",
    "UnknownSigner",
    "VerifyKey",
    "open_envelope",
    "peek",
    "seal",
    "sealed_size",
]
