"""The public keyring: whom to seal to, whose signature to believe, and for what.

`PublicKeyring` is what the secret `shared/keyring` says, and all that a role
needs to judge who sent something. The steward and the dead letters work with it
alone: nothing here holds a private key, and nothing here imports what could.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sealwax.envelope.errors import KeyRetired, SignerNotTrusted, UnknownSigner
from sealwax.envelope.format import Context, Purpose
from sealwax.envelope.public_keys import PublicKey, Suite, VerifyKey
from sealwax.envelope.statement import Kind
from sealwax.errors import SealwaxError

__all__ = [
    "SHARED",
    "KeyringInvalid",
    "Operator",
    "OperatorRow",
    "PublicKeyring",
    "RecipientRow",
    "Role",
    "SharedDocument",
    "SignerRow",
    "private_name",
]

Role = Literal["api", "worker"]
State = Literal["active", "open"]
SuiteLabel = Literal["x-wing", "x25519"]
Document = TypeVar("Document", bound=BaseModel)

#: Name of the secret with all public keys.
SHARED = "shared/keyring"

#: A lane's name as part of a secret's: no separator and no wildcard of a policy.
LANE = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}$"


class KeyringInvalid(SealwaxError):
    """A key document is not what `sealwax keys init` wrote; restore its last version."""


def private_name(role: Role, lane: str | None = None) -> str:
    """Return the name of the secret with a role's private keys: of one lane, or of all."""
    return f"{role}/keys" if lane is None else f"{role}/{lane}/keys"


class DocumentModel(BaseModel):
    """A part of a key document; its values never stand in errors or reprs: they may be keys."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class RecipientRow(DocumentModel):
    """A key to seal to; without a lane it is for every lane that has none of its own."""

    id: str
    role: Role
    lane: str | None = Field(default=None, pattern=LANE)
    suite: SuiteLabel
    public: str = Field(pattern=r"^([0-9a-f]{2})+$")
    state: State
    created: int


class SignerRow(DocumentModel):
    """A key that signs, and what it may sign."""

    id: str
    role: Role
    lane: str | None = Field(default=None, pattern=LANE)
    public: str = Field(pattern=r"^[0-9a-f]{64}$")
    state: State
    created: int
    purposes: list[Purpose]
    tasks: list[str]
    tenants: list[str]


class OperatorRow(DocumentModel):
    """A person's keys: one that signs requests, one that answers are sealed to.

    A removed one stays, so that the audit log's ids keep their names.
    """

    id: str
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@+-]{0,63}$")
    signing: str = Field(pattern=r"^[0-9a-f]{64}$")
    suite: SuiteLabel
    seal: str = Field(pattern=r"^([0-9a-f]{2})+$")
    state: Literal["active", "removed"]
    created: int


class SharedDocument(DocumentModel):
    """The secret `shared/keyring`."""

    recipients: list[RecipientRow]
    signers: list[SignerRow]
    retired: list[str] = Field(default_factory=list)
    operators: list[OperatorRow] = Field(default_factory=list)

    def to_json(self) -> str:
        """Return the document; what is not used is left out, so that older releases read it."""
        unused = set() if self.operators else {"operators"}
        return self.model_dump_json(exclude_none=True, exclude=unused)


def parse(model: type[Document], name: str, text: str) -> Document:
    """Read a key document strictly.

    Raises
    ------
    KeyringInvalid
        Names the secret and the field, never a value.
    """
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


def _fits(row: RecipientRow | SignerRow | OperatorRow) -> bool:
    """Return whether a row's keys are keys, and its id is the thumbprint."""
    try:
        if isinstance(row, RecipientRow):
            return _public_key(row.suite, row.public).id == row.id
        if isinstance(row, OperatorRow):
            _public_key(row.suite, row.seal)
            return VerifyKey(bytes.fromhex(row.signing)).id == row.id
        return VerifyKey(bytes.fromhex(row.public)).id == row.id
    except ValueError:
        return False


def _public_key(suite: str, digits: str) -> PublicKey:
    return PublicKey.from_bytes(Suite.by_label(suite), bytes.fromhex(digits))


@dataclass(frozen=True)
class Operator:
    """A person who may ask workers to reveal payloads.

    Parameters
    ----------
    signing
        Checks the person's requests; the operator's id is its id.
    seal
        Answers are sealed to it.
    """

    id: str
    name: str
    signing: VerifyKey
    seal: PublicKey


class PublicKeyring:
    """All public keys of an environment and the trust list: enough to seal and to verify."""

    def __init__(self, shared: SharedDocument) -> None:
        self._shared = shared
        self._recipients = {
            (r.role, r.lane): _public_key(r.suite, r.public)
            for r in shared.recipients
            if r.state == "active"
        }
        self._verifiers = {s.id: VerifyKey(bytes.fromhex(s.public)) for s in shared.signers}
        self._trust = {s.id: s for s in shared.signers}
        self._operators = {
            o.id: Operator(
                o.id, o.name, VerifyKey(bytes.fromhex(o.signing)), _public_key(o.suite, o.seal)
            )
            for o in shared.operators
            if o.state == "active"
        }
        self._retired = frozenset(
            (*shared.retired, *(o.id for o in shared.operators if o.state == "removed"))
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._trust)} signers)"

    @classmethod
    def load(cls, shared_json: str) -> PublicKeyring:
        """Read the secret `shared/keyring`.

        Raises
        ------
        KeyringInvalid
            Names the secret and the field, never a value.
        """
        return PublicKeyring(cls._read(shared_json))

    @staticmethod
    def _read(shared_json: str) -> SharedDocument:
        shared = parse(SharedDocument, SHARED, shared_json)
        rows: dict[str, Iterable[RecipientRow | SignerRow | OperatorRow]] = {
            "recipients": shared.recipients,
            "signers": shared.signers,
            "operators": shared.operators,
        }
        for name, found in rows.items():
            for place, row in enumerate(found):
                if not _fits(row):
                    # Told by its place: what stands there as an id may be anything.
                    raise KeyringInvalid(
                        f"Secret {SHARED}: the key of {name}.{place} does not fit its id; restore "
                        "the secret's last version."
                    )
        return shared

    # -- sealing ---------------------------------------------------------------------

    def recipient(self, role: Role, lane: str | None = None) -> PublicKey:
        """Return the key that envelopes for `role` are sealed to.

        Parameters
        ----------
        lane
            Whose workers shall open it: the lane's own key, else the one for
            all lanes that older environments have.

        Raises
        ------
        KeyringInvalid
            Where there is no active key; says what to run.
        """
        found = self._recipients.get((role, lane)) or self._recipients.get((role, None))
        if found is not None:
            return found
        if role == "worker" and lane is not None:
            raise KeyringInvalid(
                f"Lane {lane} has no active key; run `sealwax keys rotate --lane {lane}`."
            )
        raise KeyringInvalid(f"{SHARED} has no active key of {role}.")

    def lanes_without_key(self, lanes: Iterable[str]) -> list[str]:
        """Return those lanes, sorted, for whose workers nothing can be sealed."""
        if ("worker", None) in self._recipients:
            return []
        return sorted(lane for lane in lanes if ("worker", lane) not in self._recipients)

    def worker_lanes(self, *, active: bool = False) -> list[str | None]:
        """Return the lanes that have worker keys, or active ones; None is the key of all lanes."""
        rows: list[RecipientRow | SignerRow] = [*self._shared.recipients, *self._shared.signers]
        found = {
            row.lane
            for row in rows
            if row.role == "worker" and (row.state == "active" or not active)
        }
        return sorted(found, key=lambda lane: (lane is not None, lane or ""))

    def private_names(self, role: Role, lane: str | None = None) -> list[str]:
        """Return the secrets with the private keys that a role reads.

        A worker of a lane reads the lane's own, where the lane has one, and the
        one for all lanes for as long as a public half of it is left.

        Parameters
        ----------
        lane
            The worker's lane; None: those of all lanes (`sealwax check`, tests).

        Returns
        -------
        None at all where a lane has no keys.
        """
        if role != "worker":
            return [private_name(role)]
        return [
            private_name(role, found)
            for found in self.worker_lanes()
            if lane is None or found in (None, lane)
        ]

    # -- verifying -------------------------------------------------------------------

    def verifier(self, signer_id: str) -> VerifyKey:
        """Return a signer's public key; raises UnknownSigner or KeyRetired."""
        key = self._verifiers.get(signer_id)
        if key is not None:
            return key
        raise KeyRetired if signer_id in self._retired else UnknownSigner

    def check_trust(self, signer_id: str, context: Context) -> None:
        """Raise SignerNotTrusted where the trust list does not let this signer sign this."""
        row = self._row(signer_id)
        if (
            context.purpose not in row.purposes
            or not any(fnmatchcase(context.task, pattern) for pattern in row.tasks)
            or not ("*" in row.tenants or context.tenant in row.tenants)
        ):
            raise SignerNotTrusted

    def signer_role(self, signer_id: str) -> Role:
        """Return whose key signs; raises UnknownSigner or KeyRetired."""
        return self._row(signer_id).role

    def signer_lane(self, signer_id: str) -> str | None:
        """Return a signer's lane, None for every lane; raises UnknownSigner or KeyRetired."""
        return self._row(signer_id).lane

    def letter_signer(self, signer_id: str, lane: str | None = None) -> VerifyKey:
        """Return the key of a worker that may sign dead letters.

        Parameters
        ----------
        lane
            Where the letter comes from: a worker's key of another lane is not
            believed there; None: from wherever.

        Raises
        ------
        UnknownSigner, KeyRetired
        SignerNotTrusted
            Where it is no worker's, or another lane's.
        """
        row = self._row(signer_id)
        if row.role != "worker" or (lane is not None and row.lane not in (None, lane)):
            raise SignerNotTrusted
        return self.verifier(signer_id)

    def statement_key(self, kind: Kind, signer_id: str) -> VerifyKey:
        """Return the key of a signer who may make statements of this kind.

        Raises
        ------
        UnknownSigner, KeyRetired, SignerNotTrusted
        """
        if kind == "letter":
            return self.letter_signer(signer_id)
        if kind == "reveal":
            return self.operator(signer_id).signing
        # Public halves are signed by themselves; nobody vouches for another.
        raise SignerNotTrusted

    def operator(self, operator_id: str) -> Operator:
        """Return an enrolled operator; raises UnknownSigner, or KeyRetired where removed."""
        found = self._operators.get(operator_id)
        if found is not None:
            return found
        raise KeyRetired if operator_id in self._retired else UnknownSigner

    def _row(self, signer_id: str) -> SignerRow:
        row = self._trust.get(signer_id)
        if row is not None:
            return row
        raise KeyRetired if signer_id in self._retired else UnknownSigner

    # -- showing ---------------------------------------------------------------------

    def describe(self) -> list[dict[str, Any]]:
        """Return id, role, lane, kind, suite, state and creation time of all keys."""
        rows: list[tuple[RecipientRow | SignerRow, str, str]] = [
            *((recipient, "seal", recipient.suite) for recipient in self._shared.recipients),
            *((signer, "sign", "ed25519") for signer in self._shared.signers),
        ]
        described: list[dict[str, Any]] = [
            {
                "id": row.id,
                "role": row.role,
                "lane": row.lane,
                "kind": kind,
                "suite": suite,
                "state": row.state,
                "created": row.created,
            }
            for row, kind, suite in rows
        ]
        return sorted(
            described,
            key=lambda row: (row["role"], row["lane"] or "", row["kind"], -row["created"]),
        )

    def describe_operators(self) -> list[dict[str, Any]]:
        """Return id, name, suite, state and creation time of all operators, the removed too."""
        return [
            {"id": o.id, "name": o.name, "suite": o.suite, "state": o.state, "created": o.created}
            for o in sorted(self._shared.operators, key=lambda o: (o.state, o.name, o.created))
        ]
