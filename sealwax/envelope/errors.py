"""Why an envelope was not opened: one class a cause.

`cause` is the machine-readable name that ends in dead letters and logs.
`transient` ones may go away when the keyring is refreshed; all others are final.
"""

from __future__ import annotations

from typing import ClassVar

from sealwax.errors import SealwaxError

__all__ = [
    "ContextMismatch",
    "DecryptionFailed",
    "EnvelopeError",
    "EnvelopeExpired",
    "EnvelopeMalformed",
    "EnvelopeVersionUnsupported",
    "KeyRetired",
    "SignatureInvalid",
    "SignerNotTrusted",
    "UnknownKey",
    "UnknownSigner",
]


class EnvelopeError(SealwaxError):
    """The envelope cannot be opened."""

    cause: ClassVar[str] = "unopenable"
    transient: ClassVar[bool] = False


class EnvelopeMalformed(EnvelopeError):
    """This is not an envelope: its form, header or encoding is wrong."""

    cause = "envelope-malformed"


class EnvelopeVersionUnsupported(EnvelopeError):
    """The envelope has a version or suite that this release does not know; upgrade the worker."""

    cause = "version-unsupported"


class UnknownSigner(EnvelopeError):
    """The signing key is not in the trust list, perhaps not yet: refresh the keyring."""

    cause = "unknown-signer"
    transient = True


class SignatureInvalid(EnvelopeError):
    """The signature does not fit: the envelope was forged or altered."""

    cause = "signature-invalid"


class SignerNotTrusted(EnvelopeError):
    """The signing key may not sign this purpose, task or tenant; see the trust list."""

    cause = "signer-not-trusted"


class ContextMismatch(EnvelopeError):
    """The envelope belongs to another job, task, tenant or purpose.

    Parameters
    ----------
    field
        Which part differs.
    """

    cause = "context-mismatch"

    def __init__(self, field: str) -> None:
        self.field = field
        super().__init__(f"The envelope belongs to another {field}: it was moved here.")


class EnvelopeExpired(EnvelopeError):
    """The envelope's not-after has passed."""

    cause = "envelope-expired"


class UnknownKey(EnvelopeError):
    """The envelope is sealed to a key that this role does not hold, perhaps not yet: refresh."""

    cause = "unknown-key"
    transient = True


class KeyRetired(EnvelopeError):
    """The key to open this envelope was retired; what is sealed to it is lost."""

    cause = "key-retired"


class DecryptionFailed(EnvelopeError):
    """The ciphertext does not fit its key and header, although it is rightly signed."""

    cause = "decryption-failed"
