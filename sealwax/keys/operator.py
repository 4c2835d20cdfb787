"""An operator's own key: it signs requests to reveal, and opens what is answered.

Made and kept on the operator's machine, in a file that nobody else can read; the
environment's keyring knows its public half alone. Called by `sealwax operators`
and by the commands that ask workers to reveal. No role of AWS ever holds one.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from sealwax.envelope import (
    Context,
    EnvelopeError,
    PrivateKey,
    SigningKey,
    Suite,
    UnknownKey,
    UnknownSigner,
    VerifyKey,
    check_statement,
    read_statement,
    sign_statement,
)
from sealwax.errors import SealwaxError
from sealwax.keys.public import DocumentModel, PublicKeyring, SuiteLabel

__all__ = [
    "OperatorKey",
    "OperatorKeyExists",
    "OperatorKeyInvalid",
    "OperatorOpener",
    "read_public",
]

#: What an operator may be called.
NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._@+-]{0,63}$"


class OperatorKeyInvalid(SealwaxError):
    """This file is no operator's key; `sealwax operators add NAME` makes one."""


class OperatorKeyExists(SealwaxError):
    """A file stands there already, and is not overwritten: choose another with --key."""


class _KeyFile(DocumentModel):
    name: str = Field(pattern=NAME)
    suite: SuiteLabel
    seed: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    signing_seed: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    created: int = Field(ge=0)


class _PublicHalf(DocumentModel):
    name: str = Field(pattern=NAME)
    signing: str = Field(pattern=r"^[0-9a-f]{64}$")
    suite: SuiteLabel
    seal: str = Field(pattern=r"^([0-9a-f]{2})+$")
    created: int = Field(ge=0)


class OperatorKey:
    """Both private keys of one operator."""

    def __init__(self, document: _KeyFile) -> None:
        self._document = document
        self.name = document.name
        self.signer = SigningKey(bytes.fromhex(document.signing_seed))
        self.private = PrivateKey(Suite.by_label(document.suite), bytes.fromhex(document.seed))

    def __repr__(self) -> str:
        return f"OperatorKey({self.id})"

    @property
    def id(self) -> str:
        """The operator's id: the one of the key that signs."""
        return self.signer.id

    @classmethod
    def create(cls, name: str, suite: str, now: int) -> OperatorKey:
        """Make a new key.

        Parameters
        ----------
        name
            Whose: 1 to 64 letters, digits, spaces and `._@+-`.
        suite
            `x-wing` or `x25519`.
        now
            Epoch seconds, kept as its creation time.

        Raises
        ------
        OperatorKeyInvalid
            Where the name is not well-formed.
        """
        try:
            document = _KeyFile.model_validate(
                {
                    "name": name,
                    "suite": suite,
                    "seed": secrets.token_hex(32),
                    "signing_seed": secrets.token_hex(32),
                    "created": now,
                }
            )
        except ValidationError:
            raise OperatorKeyInvalid(
                "An operator's name has 1 to 64 letters, digits, spaces and ._@+-, and begins "
                "with a letter or digit."
            ) from None
        return cls(document)

    @classmethod
    def load(cls, text: str) -> OperatorKey:
        """Read a key's JSON; raises OperatorKeyInvalid, which shows none of it."""
        try:
            return cls(_KeyFile.model_validate_json(text))
        except ValidationError:
            raise OperatorKeyInvalid from None

    @classmethod
    def read(cls, path: Path) -> OperatorKey:
        """Read a key's file.

        Raises
        ------
        OperatorKeyInvalid
            Where it is none, or others than its owner can read or write it.
        """
        try:
            with path.open(encoding="utf-8") as file:
                status = os.fstat(file.fileno())
                text = file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise OperatorKeyInvalid(
                f"{path} cannot be read ({type(error).__name__}); name your key's file with --key."
            ) from None
        if status.st_uid != os.getuid():
            raise OperatorKeyInvalid(
                f"{path} is somebody else's file; take it as known to them, and make another key."
            )
        mode = status.st_mode & 0o777
        if mode & 0o077:
            raise OperatorKeyInvalid(
                f"{path} can be read by others (mode {mode:o}); take it as known to them, make "
                f"another key, or run `chmod 600 {path}` where you are sure."
            )
        return cls.load(text)

    @classmethod
    def ensure(cls, path: Path, name: str, suite: str, now: int) -> OperatorKey:
        """Return the key in a file; make and write one where there is no file.

        Raises
        ------
        OperatorKeyExists
            Where the file holds another operator's key.
        OperatorKeyInvalid
            As `create` and `read`.
        """
        if not path.exists():
            key = cls.create(name, suite, now)
            key.write(path)
            return key
        key = cls.read(path)
        if key.name != name:
            raise OperatorKeyExists(
                f"{path} holds the key of {key.name} and is not overwritten; choose another file "
                "with --key."
            )
        return key

    def write(self, path: Path) -> None:
        """Write the key into a new file that its owner alone can read.

        Raises
        ------
        OperatorKeyExists
            Where a file, or a link, stands there already.
        """
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise OperatorKeyExists(
                f"{path} exists already and is not overwritten; choose another file with --key."
            ) from None
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            # The umask may take rights away, never add any; exactly these are wanted.
            os.fchmod(file.fileno(), 0o600)
            file.write(self.to_json() + "\n")
            file.flush()
            os.fsync(file.fileno())

    def to_json(self) -> str:
        """Return the private key's JSON."""
        return self._document.model_dump_json()

    def public(self) -> dict[str, Any]:
        """Return the public half, signed by itself: nobody can put another key to seal into it."""
        fields = {
            "name": self.name,
            "signing": self.signer.public.raw.hex(),
            "suite": self._document.suite,
            "seal": self.private.public.raw.hex(),
            "created": self._document.created,
        }
        return sign_statement("operator", fields, self.signer)

    def opener(self, keyring: PublicKeyring) -> OperatorOpener:
        """Return what opens answers to this operator, believing whom `keyring` trusts."""
        return OperatorOpener(self, keyring)


class OperatorOpener:
    """Opening what was sealed to one operator, by the environment's trust list."""

    def __init__(self, key: OperatorKey, keyring: PublicKeyring) -> None:
        self._key = key
        self._keyring = keyring

    def verifier(self, signer_id: str) -> VerifyKey:
        """Return a signer's key; raises UnknownSigner or KeyRetired."""
        return self._keyring.verifier(signer_id)

    def check_trust(self, signer_id: str, context: Context) -> None:
        """Raise SignerNotTrusted where the signer may not sign this."""
        self._keyring.check_trust(signer_id, context)

    def private(self, key_id: str) -> PrivateKey:
        """Return the operator's private key; raises UnknownKey for any other id."""
        if key_id != self._key.private.id:
            raise UnknownKey
        return self._key.private


class _Itself:
    """Believes one key: a public half vouches for itself alone."""

    def __init__(self, key: VerifyKey) -> None:
        self._key = key

    def statement_key(self, kind: str, signer_id: str) -> VerifyKey:  # noqa: ARG002 - the protocol's
        if signer_id != self._key.id:
            raise UnknownSigner
        return self._key


def read_public(text: str) -> dict[str, Any]:
    """Read an operator's public half, and check that it was made by whoever holds the key.

    Returns
    -------
    `id`, `name`, `signing`, `suite`, `seal` and `created`, for `KeyDocuments.enrol`.

    Raises
    ------
    OperatorKeyInvalid
        Where it is none, or was changed on its way.
    """
    try:
        fields = read_statement(text)
        half = _PublicHalf.model_validate(
            {name: value for name, value in fields.items() if name not in ("sid", "sig")}
        )
        key = VerifyKey(bytes.fromhex(half.signing))
        check_statement("operator", fields, _Itself(key))
    except (EnvelopeError, ValidationError, ValueError):
        raise OperatorKeyInvalid(
            "This is no operator's public half, or it was changed on its way; have it made again "
            "with `sealwax operators public --key FILE`."
        ) from None
    return {"id": key.id, **half.model_dump()}
