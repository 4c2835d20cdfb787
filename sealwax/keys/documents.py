"""The key documents that are kept as secrets, and every change to them.

`KeyDocuments` are JSON texts by secret name; all changes are pure functions that
give other documents. Called by `lifecycle`, which reads and writes the secrets.
The steward and the dead letters must never import this module.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import Field, ValidationError

from sealwax.envelope import PrivateKey, Purpose, SigningKey, Suite
from sealwax.errors import SealwaxError
from sealwax.keys.public import (
    LANE,
    SHARED,
    DocumentModel,
    KeyringInvalid,
    OperatorRow,
    RecipientRow,
    Role,
    SharedDocument,
    SignerRow,
    State,
    SuiteLabel,
    parse,
    private_name,
)

__all__ = [
    "KeyDocuments",
    "KeyInUse",
    "NoSuchKey",
    "NoSuchOperator",
    "OperatorExists",
    "PrivateDocument",
]


class KeyInUse(SealwaxError):
    """An active key cannot be retired; run `sealwax keys rotate` first."""


class NoSuchKey(SealwaxError):
    """No key has this id; `sealwax keys list` shows those that exist."""


class NoSuchOperator(SealwaxError):
    """No operator has this id; `sealwax operators list` shows those that exist."""


class OperatorExists(SealwaxError):
    """This key is in the keyring already; make another with `sealwax operators add NAME`."""


class PrivateRow(DocumentModel):
    """A private key that opens."""

    suite: SuiteLabel
    seed: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    state: State
    created: int


class SigningRow(DocumentModel):
    """A private key that signs."""

    seed: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    state: State
    created: int


class PrivateDocument(DocumentModel):
    """The secret with a role's private keys: of one lane's workers, or of all."""

    role: Role
    lane: str | None = Field(default=None, pattern=LANE)
    hpke: list[PrivateRow]
    signing: list[SigningRow]

    def to_json(self) -> str:
        """Return the document; without a lane it is one that older releases read."""
        return self.model_dump_json(exclude_none=True)


#: What a role's signing keys may sign unless the trust list is edited.
_PURPOSES: dict[Role, list[Purpose]] = {
    "api": [Purpose.JOB],
    "worker": [Purpose.RESULT, Purpose.JOB, Purpose.REVEAL],
}


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
    def create(cls, suite: str, now: int, lanes: Iterable[str] = ()) -> KeyDocuments:
        """Make all keys anew.

        Parameters
        ----------
        suite
            `x-wing` or `x25519`.
        now
            Epoch seconds, kept as the keys' creation time.
        lanes
            Whose workers get keys of their own; none: one key for all lanes.
        """
        shared = SharedDocument(recipients=[], signers=[])
        documents: dict[str, str] = {}
        owners: list[tuple[Role, str | None]] = [("api", None)]
        owners += [("worker", lane) for lane in sorted(lanes)] or [("worker", None)]
        for role, lane in owners:
            private = _empty(role, lane)
            _add_keys(private, shared, suite, now)
            documents[private_name(role, lane)] = private.to_json()
        documents[SHARED] = shared.to_json()
        documents["shared/hmac"] = json.dumps(
            {
                "tenant": secrets.token_hex(32),
                "keys": [{"version": 1, "key": secrets.token_hex(32), "state": "active"}],
            }
        )
        documents["api/token-key"] = secrets.token_hex(32)
        return cls(documents)

    def rotate(
        self,
        which: Role,
        suite: str,
        now: int,
        lanes: Sequence[str | None] = (None,),
        *,
        close_laneless: bool = False,
    ) -> KeyDocuments:
        """Return documents in which a role seals to and signs with new keys.

        The old ones stay open: what is sealed to them opens, what they signed
        is believed, until `retire`. Write the private documents before the
        shared one; either order of reading is safe, because a role signs with
        the newest key that the shared document knows.

        Parameters
        ----------
        lanes
            Whose workers get new keys, the first ones where a lane has none;
            None is the key for all lanes.
        close_laneless
            Whether the key for all lanes stops being active: no lane is without
            a key of its own any more.

        Raises
        ------
        KeyringInvalid
            Where a document cannot be read.
        """
        changed = [self._private(which, lane) for lane in lanes]
        shared = self._shared()
        for private in changed:
            _close(private, shared)
            _add_keys(private, shared, suite, now)
        if close_laneless and private_name(which) in self._documents:
            laneless = self._private(which, None)
            _close(laneless, shared)
            changed.append(laneless)
        return self._changed(shared, *changed)

    def retire(self, key_id: str) -> KeyDocuments:
        """Return documents without a key that is no longer active; its id is remembered.

        What is sealed to it can never be opened again, by anybody: the caller
        makes sure that nothing open needs it.

        Raises
        ------
        KeyInUse, NoSuchKey, KeyringInvalid
        """
        shared = self._shared()
        rows: list[RecipientRow | SignerRow] = [*shared.recipients, *shared.signers]
        found = next((row for row in rows if row.id == key_id), None)
        if found is None:
            raise NoSuchKey
        if found.state == "active":
            raise KeyInUse
        private = self._private(found.role, found.lane)
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
        return self._changed(shared, private)

    def enrol(self, public: Mapping[str, Any]) -> KeyDocuments:
        """Return documents that know an operator.

        Parameters
        ----------
        public
            `name`, `signing`, `suite`, `seal` and `created`, as
            `sealwax.keys.operator.read_public` gives them, and the `id`.

        Raises
        ------
        OperatorExists
            Also where the key was removed, or is one of a role's.
        KeyringInvalid
        """
        shared = self._shared()
        try:
            row = OperatorRow.model_validate({**public, "state": "active"})
        except ValidationError:
            raise KeyringInvalid("The operator's public half is not well-formed.") from None
        taken = {*shared.retired, *(signer.id for signer in shared.signers)}
        if row.id in taken | {operator.id for operator in shared.operators}:
            raise OperatorExists
        shared.operators.append(row)
        return self._changed(shared)

    def dismiss(self, operator_id: str) -> KeyDocuments:
        """Return documents in which an operator is removed, its name kept.

        Raises
        ------
        NoSuchOperator
            Where no active operator has this id.
        """
        shared = self._shared()
        rows = [row for row in shared.operators if row.id == operator_id and row.state == "active"]
        if not rows:
            raise NoSuchOperator
        rows[0].state = "removed"
        return self._changed(shared)

    def _private(self, role: Role, lane: str | None) -> PrivateDocument:
        """Return a private document; a new one for a lane that has none."""
        name = private_name(role, lane)
        if lane is not None and name not in self._documents:
            return _empty(role, lane)
        document = parse(PrivateDocument, name, self._documents.get(name, ""))
        if (document.role, document.lane) != (role, lane):
            raise KeyringInvalid(f"Secret {name} holds the keys of another role or lane.")
        return document

    def _shared(self) -> SharedDocument:
        return parse(SharedDocument, SHARED, self._documents.get(SHARED, ""))

    def _changed(self, shared: SharedDocument, *private: PrivateDocument) -> KeyDocuments:
        changed = {private_name(p.role, p.lane): p.to_json() for p in private}
        return KeyDocuments({**self._documents, **changed, SHARED: shared.to_json()})


def _empty(role: Role, lane: str | None) -> PrivateDocument:
    try:
        return PrivateDocument(role=role, lane=lane, hpke=[], signing=[])
    except ValidationError:
        raise KeyringInvalid(
            f"Lane {lane!r} cannot have keys of its own: its name must be letters, digits, dots, "
            "hyphens and underlines; rename it, or set keys.per_lane = false."
        ) from None


def _close(private: PrivateDocument, shared: SharedDocument) -> None:
    """Let a role's keys of one lane, or those of all lanes, only open what they have."""
    for own in (private.hpke, private.signing):
        for key in own:
            key.state = "open"
    for published in (shared.recipients, shared.signers):
        for row in published:
            if (row.role, row.lane) == (private.role, private.lane):
                row.state = "open"


def _add_keys(private: PrivateDocument, shared: SharedDocument, suite: str, now: int) -> None:
    """Put one new active key pair of each kind into both documents."""
    seed, signing_seed = secrets.token_bytes(32), secrets.token_bytes(32)
    hpke = PrivateKey(Suite.by_label(suite), seed).public
    signer = SigningKey(signing_seed).public
    private.hpke.append(
        PrivateRow.model_validate(
            {"suite": suite, "seed": seed.hex(), "state": "active", "created": now}
        )
    )
    private.signing.append(SigningRow(seed=signing_seed.hex(), state="active", created=now))
    shared.recipients.append(
        RecipientRow.model_validate(
            {
                "id": hpke.id,
                "role": private.role,
                "lane": private.lane,
                "suite": suite,
                "public": hpke.raw.hex(),
                "state": "active",
                "created": now,
            }
        )
    )
    shared.signers.append(
        SignerRow(
            id=signer.id,
            role=private.role,
            lane=private.lane,
            public=signer.raw.hex(),
            state="active",
            created=now,
            purposes=_PURPOSES[private.role],
            tasks=["*"],
            tenants=["*"],
        )
    )
