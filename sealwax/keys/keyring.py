"""The keys that one role holds, and whom it trusts.

`KeyDocuments` are the JSON documents kept as secrets; all changes to them are
pure functions. `Keyring` is what a role reads from its two documents: the
private one of its own and the shared one with all public keys and the trust
list. A key is picked by its id, never tried in turn.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sealwax.envelope import (
    Context,
    KeyRetired,
    PrivateKey,
    PublicKey,
    Purpose,
    SignerNotTrusted,
    SigningKey,
    Suite,
    UnknownKey,
    UnknownSigner,
    VerifyKey,
)
from sealwax.errors import SealwaxError

__all__ = ["KeyDocuments", "KeyInUse", "Keyring", "KeyringInvalid", "NoSuchKey", "Role"]

Role = Literal["api", "worker"]
State = Literal["active", "open"]
Document = TypeVar("Document", bound=BaseModel)


class KeyringInvalid(SealwaxError):
    """A key document is not what `sealwax keys init` wrote; restore its last version."""


class KeyInUse(SealwaxError):
    """An active key cannot be retired; run `sealwax keys rotate` first."""


class NoSuchKey(SealwaxError):
    """No key has this id; `sealwax keys list` shows those that exist."""


class _Model(BaseModel):
    # Values never stand in errors or reprs: they may be keys.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class _Private(_Model):
    suite: Literal["x-wing", "x25519"]
    seed: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    state: State
    created: int


class _Signing(_Model):
    seed: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    state: State
    created: int


class _PrivateDocument(_Model):
    role: Role
    hpke: list[_Private]
    signing: list[_Signing]


class _Recipient(_Model):
    id: str
    role: Role
    suite: Literal["x-wing", "x25519"]
    public: str = Field(pattern=r"^([0-9a-f]{2})+$")
    state: State
    created: int


class _Signer(_Model):
    id: str
    role: Role
    public: str = Field(pattern=r"^[0-9a-f]{64}$")
    state: State
    created: int
    purposes: list[Purpose]
    tasks: list[str]
    tenants: list[str]


class _SharedDocument(_Model):
    recipients: list[_Recipient]
    signers: list[_Signer]
    retired: list[str] = Field(default_factory=list)


#: What a role's signing keys may sign unless the trust list is edited.
_PURPOSES: dict[Role, list[Purpose]] = {
    "api": [Purpose.JOB],
    "worker": [Purpose.RESULT, Purpose.JOB, Purpose.REVEAL],
}


def _parse(model: type[Document], name: str, text: str) -> Document:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        where = ", ".join(
            ".".join(str(part) for part in item["loc"]) or "the whole"
            for item in error.errors(include_input=False, include_context=False)
        )
        raise KeyringInvalid(
            f"Secret {name} is not a key document ({where}); restore its last version."
        ) from None


class KeyDocuments:
    """The key documents of an environment, by secret name, as JSON texts."""

    def __init__(self, documents: Mapping[str, str]) -> None:
        self._documents = dict(documents)

    def __repr__(self) -> str:
        return f"KeyDocuments({sorted(self._documents)})"

    def secrets(self) -> dict[str, str]:
        """Return secret names and their JSON texts."""
        return dict(self._documents)

    @classmethod
    def create(cls, suite: str, now: int) -> KeyDocuments:
        """Make all keys anew.

        Parameters
        ----------
        suite
            `x-wing` or `x25519`.
        now
            Epoch seconds, kept as the keys' creation time.
        """
        shared = _SharedDocument(recipients=[], signers=[])
        documents: dict[str, str] = {}
        roles: tuple[Role, ...] = ("api", "worker")
        for role in roles:
            private = _PrivateDocument(role=role, hpke=[], signing=[])
            _add_keys(private, shared, suite, now)
            documents[f"{role}/keys"] = private.model_dump_json()
        documents["shared/keyring"] = shared.model_dump_json()
        documents["shared/hmac"] = json.dumps(
            {
                "tenant": secrets.token_hex(32),
                "keys": [{"version": 1, "key": secrets.token_hex(32), "state": "active"}],
            }
        )
        documents["api/token-key"] = secrets.token_hex(32)
        return cls(documents)

    def rotate(self, which: Role, suite: str, now: int) -> KeyDocuments:
        """Return documents in which a role seals to and signs with new keys.

        The old ones stay open: what is sealed to them opens, what they signed
        is believed, until `retire`. Write the private document before the
        shared one; either order of reading is safe, because a role signs with
        the newest key that the shared document knows.

        Raises
        ------
        KeyringInvalid
            Where a document cannot be read.
        """
        private, shared = self._private(which), self._shared()
        for own in (private.hpke, private.signing):
            for key in own:
                key.state = "open"
        for published in (shared.recipients, shared.signers):
            for row in published:
                row.state = "open" if row.role == which else row.state
        _add_keys(private, shared, suite, now)
        return self._changed(private, shared)

    def retire(self, key_id: str) -> KeyDocuments:
        """Return documents without a key that is no longer active; its id is remembered.

        What is sealed to it can never be opened again, by anybody: the caller
        makes sure that nothing open needs it.

        Raises
        ------
        KeyInUse, NoSuchKey, KeyringInvalid
        """
        shared = self._shared()
        rows: list[_Recipient | _Signer] = [*shared.recipients, *shared.signers]
        found = next((row for row in rows if row.id == key_id), None)
        if found is None:
            raise NoSuchKey
        if found.state == "active":
            raise KeyInUse
        private = self._private(found.role)
        private.hpke = [
            k for k in private.hpke
            if PrivateKey(Suite.by_label(k.suite), bytes.fromhex(k.seed)).id != key_id
        ]  # fmt: skip
        private.signing = [
            k for k in private.signing if SigningKey(bytes.fromhex(k.seed)).id != key_id
        ]
        shared.recipients = [row for row in shared.recipients if row.id != key_id]
        shared.signers = [row for row in shared.signers if row.id != key_id]
        shared.retired.append(key_id)
        return self._changed(private, shared)

    def _private(self, role: Role) -> _PrivateDocument:
        name = f"{role}/keys"
        return _parse(_PrivateDocument, name, self._documents.get(name, ""))

    def _shared(self) -> _SharedDocument:
        return _parse(_SharedDocument, "shared/keyring", self._documents.get("shared/keyring", ""))

    def _changed(self, private: _PrivateDocument, shared: _SharedDocument) -> KeyDocuments:
        return KeyDocuments(
            self._documents
            | {
                f"{private.role}/keys": private.model_dump_json(),
                "shared/keyring": shared.model_dump_json(),
            }
        )


def _add_keys(private: _PrivateDocument, shared: _SharedDocument, suite: str, now: int) -> None:
    """Put one new active key pair of each kind into both documents."""
    seed, signing_seed = secrets.token_bytes(32), secrets.token_bytes(32)
    hpke = PrivateKey(Suite.by_label(suite), seed).public
    signer = SigningKey(signing_seed).public
    private.hpke.append(
        _Private.model_validate(
            {"suite": suite, "seed": seed.hex(), "state": "active", "created": now}
        )
    )
    private.signing.append(_Signing(seed=signing_seed.hex(), state="active", created=now))
    shared.recipients.append(
        _Recipient.model_validate(
            {
                "id": hpke.id,
                "role": private.role,
                "suite": suite,
                "public": hpke.raw.hex(),
                "state": "active",
                "created": now,
            }
        )
    )
    shared.signers.append(
        _Signer(
            id=signer.id,
            role=private.role,
            public=signer.raw.hex(),
            state="active",
            created=now,
            purposes=_PURPOSES[private.role],
            tasks=["*"],
            tenants=["*"],
        )
    )


def _true_id(row: _Recipient | _Signer) -> str | None:
    """Return the thumbprint of a row's key, or None where it is no key."""
    raw = bytes.fromhex(row.public)
    try:
        if isinstance(row, _Recipient):
            return PublicKey.from_bytes(Suite.by_label(row.suite), raw).id
        return VerifyKey(raw).id
    except ValueError:
        return None


class Keyring:
    """What one role can open, sign, seal to and verify."""

    def __init__(self, role: Role, private: _PrivateDocument, shared: _SharedDocument) -> None:
        self.role = role
        self._private = {
            key.id: key
            for key in (PrivateKey(Suite.by_label(k.suite), bytes.fromhex(k.seed))
                        for k in private.hpke)
        }  # fmt: skip
        self._recipients = {
            r.role: PublicKey.from_bytes(Suite.by_label(r.suite), bytes.fromhex(r.public))
            for r in shared.recipients
            if r.state == "active"
        }
        self._verifiers = {s.id: VerifyKey(bytes.fromhex(s.public)) for s in shared.signers}
        self._trust = {s.id: s for s in shared.signers}
        self._retired = frozenset(shared.retired)
        self._shared = shared
        # In the middle of a rotation the newest key may not be published yet;
        # nobody would believe it, so the newest published one signs.
        signers = [SigningKey(bytes.fromhex(k.seed)) for k in reversed(private.signing)]
        published = [key for key in signers if key.id in self._verifiers]
        if not published:
            raise KeyringInvalid(
                f"The signing key of {role} is not in shared/keyring; restore both secrets to "
                "versions that belong together."
            )
        self.signer = published[0]

    def __repr__(self) -> str:
        return f"Keyring({self.role}, {sorted(self._private)})"

    @classmethod
    def load(cls, role: Role, private_json: str, shared_json: str) -> Keyring:
        """Read the role's two documents.

        Raises
        ------
        KeyringInvalid
            Names the secret and the field, never a value.
        """
        private = _parse(_PrivateDocument, f"{role}/keys", private_json)
        shared = _parse(_SharedDocument, "shared/keyring", shared_json)
        if private.role != role:
            raise KeyringInvalid(f"Secret {role}/keys holds the keys of another role.")
        rows: list[tuple[str, _Recipient | _Signer]] = [
            *((f"recipients.{n}", recipient) for n, recipient in enumerate(shared.recipients)),
            *((f"signers.{n}", signer) for n, signer in enumerate(shared.signers)),
        ]
        for place, row in rows:
            if _true_id(row) != row.id:
                # Told by its place: what stands there as an id may be anything.
                raise KeyringInvalid(
                    f"Secret shared/keyring: the key of {place} does not fit its id; restore the "
                    "secret's last version."
                )
        return cls(role, private, shared)

    def recipient(self, role: Role) -> PublicKey:
        """Return the key that envelopes for `role` are sealed to.

        Raises
        ------
        KeyringInvalid
            Where the role has no active key.
        """
        try:
            return self._recipients[role]
        except KeyError:
            raise KeyringInvalid(f"shared/keyring has no active key of {role}.") from None

    def private(self, key_id: str) -> PrivateKey:
        """Return our private key of this id; raises UnknownKey or KeyRetired."""
        key = self._private.get(key_id)
        if key is not None:
            return key
        raise KeyRetired if key_id in self._retired else UnknownKey

    def verifier(self, signer_id: str) -> VerifyKey:
        """Return a signer's public key; raises UnknownSigner or KeyRetired."""
        key = self._verifiers.get(signer_id)
        if key is not None:
            return key
        raise KeyRetired if signer_id in self._retired else UnknownSigner

    def check_trust(self, signer_id: str, context: Context) -> None:
        """Raise SignerNotTrusted where the trust list does not let this signer sign this."""
        row = self._trust[signer_id]
        if (
            context.purpose not in row.purposes
            or not any(fnmatchcase(context.task, pattern) for pattern in row.tasks)
            or not ("*" in row.tenants or context.tenant in row.tenants)
        ):
            raise SignerNotTrusted

    @staticmethod
    def describe_shared(shared_json: str) -> list[dict[str, Any]]:
        """Return id, role, kind, suite, state and creation time of all keys; nothing private."""
        return _described(_parse(_SharedDocument, "shared/keyring", shared_json))

    def describe(self) -> list[dict[str, Any]]:
        """Return the same of the keys that this keyring has read."""
        return _described(self._shared)


def _described(shared: _SharedDocument) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {
            "id": r.id,
            "role": r.role,
            "kind": "seal",
            "suite": r.suite,
            "state": r.state,
            "created": r.created,
        }
        for r in shared.recipients
    ]
    rows += [
        {
            "id": s.id,
            "role": s.role,
            "kind": "sign",
            "suite": "ed25519",
            "state": s.state,
            "created": s.created,
        }
        for s in shared.signers
    ]
    return sorted(rows, key=lambda row: (row["role"], row["kind"], -row["created"]))
