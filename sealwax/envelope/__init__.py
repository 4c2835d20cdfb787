"""The sealed envelope: encrypted to one role, signed by another, bound to one job.

The API seals jobs for workers, workers seal results for the API. `statement` signs
what is not secret: a worker's dead letter, an operator's request. Specified in
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
from sealwax.envelope.private_keys import PrivateKey, SigningKey
from sealwax.envelope.public_keys import PublicKey, Suite, VerifyKey
from sealwax.envelope.seal import Opened, open_envelope, peek, seal, sealed_size
from sealwax.envelope.statement import check_statement, read_statement, sign_statement
from sealwax.envelope.verify import Expected, Verified, verify_envelope

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
    "Verified",
    "VerifyKey",
    "check_statement",
    "open_envelope",
    "peek",
    "read_statement",
    "seal",
    "sealed_size",
    "sign_statement",
    "verify_envelope",
]
