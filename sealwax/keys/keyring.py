"""The keys that one role holds, besides the public ones.

`Keyring` is what the API or a worker reads from its documents: its private ones
and the shared one with all public keys and the trust list. A key is picked by
its id, never tried in turn. The steward and the dead letters must never import
this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sealwax.envelope import KeyRetired, PrivateKey, SigningKey, Suite, UnknownKey
from sealwax.keys.documents import PrivateDocument
from sealwax.keys.public import (
    SHARED,
    KeyringInvalid,
    PublicKeyring,
    Role,
    SharedDocument,
    parse,
    private_name,
)

__all__ = ["Keyring"]


class Keyring(PublicKeyring):
    """What one role can open, sign, seal to and verify."""

    def __init__(
        self, role: Role, private: Sequence[PrivateDocument], shared: SharedDocument
    ) -> None:
        super().__init__(shared)
        self.role = role
        self._private = {
            key.id: key
            for document in private
            for key in (PrivateKey(Suite.by_label(k.suite), bytes.fromhex(k.seed))
                        for k in document.hpke)
        }  # fmt: skip
        # In the middle of a rotation the newest key may not be published yet;
        # nobody would believe it, so the newest published one signs. A lane's own
        # comes before the one for all lanes.
        signers = [
            SigningKey(bytes.fromhex(key.seed))
            for document in sorted(private, key=lambda document: document.lane is None)
            for key in reversed(document.signing)
        ]
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
    def load(  # type: ignore[override]  # reads more documents than the public half needs
        cls, role: Role, private: str | Mapping[str, str], shared_json: str
    ) -> Keyring:
        """Read a role's documents.

        Parameters
        ----------
        private
            The private documents by name, those that `private_names` tells; a
            text alone is the role's one for all lanes.
        shared_json
            The secret `shared/keyring`.

        Raises
        ------
        KeyringInvalid
            Names the secret and the field, never a value.
        """
        texts = {private_name(role): private} if isinstance(private, str) else private
        documents = []
        for name, text in texts.items():
            document = parse(PrivateDocument, name, text)
            if document.role != role:
                raise KeyringInvalid(f"Secret {name} holds the keys of another role.")
            if private_name(role, document.lane) != name:
                raise KeyringInvalid(f"Secret {name} holds the keys of another lane.")
            documents.append(document)
        return cls(role, documents, cls._read(shared_json))

    @classmethod
    def read(cls, role: Role, get: Callable[[str], str], *, lane: str | None = None) -> Keyring:
        """Read a role's documents, those that the shared one names.

        Parameters
        ----------
        get
            Returns a secret by name.
        lane
            The worker's lane; None: all lanes.

        Raises
        ------
        KeyringInvalid
            Also where the lane has no keys; says what to run.
        """
        shared_json = get(SHARED)
        public = PublicKeyring.load(shared_json)
        names = public.private_names(role, lane)
        if role == "worker" and lane is not None and not names:
            raise KeyringInvalid(
                f"Lane {lane} has no keys; run `sealwax keys rotate --lane {lane}`."
            )
        return cls.load(role, {name: get(name) for name in names}, shared_json)

    def private(self, key_id: str) -> PrivateKey:
        """Return our private key of this id; raises UnknownKey or KeyRetired."""
        key = self._private.get(key_id)
        if key is not None:
            return key
        raise KeyRetired if key_id in self._retired else UnknownKey
