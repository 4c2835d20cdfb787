"""Signed statements: what a role says in clear, and who said it.

A worker signs the dead letters that it sends, an operator signs a request to
reveal a payload. Checking one needs public keys alone. Specified in
`docs/envelope.md`. Nothing here decrypts, and nothing here imports what could.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, get_args

from cryptography.exceptions import InvalidSignature

from sealwax.envelope.errors import EnvelopeMalformed, SignatureInvalid
from sealwax.envelope.public_keys import VerifyKey

__all__ = ["Kind", "StatementVerifier", "check_statement", "read_statement", "sign_statement"]

#: What a statement is about; it is part of what is signed: a dead letter, a request to
#: reveal, the public half of an operator's key.
Kind = Literal["letter", "reveal", "operator"]
Value = str | int | bool | list[str] | None

KINDS = get_args(Kind)
#: Most members of a statement, `sid` and `sig` included.
MAX_MEMBERS = 32
#: Longest text of one member in characters.
MAX_STRING = 4_096
#: Most texts in a list.
MAX_LIST = 16
#: Longest canonical form in bytes: an SQS attribute is part of the message's size.
MAX_BYTES = 16_384
#: Largest integer that every JSON reader keeps exactly (RFC 8259, section 6).
MAX_INTEGER = 2**53 - 1

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_KEY_ID = re.compile(r"[0-9a-f]{16}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")


class Signer(Protocol):
    """What signing asks of a key."""

    @property
    def id(self) -> str:
        """The key's id."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature."""


class StatementVerifier(Protocol):
    """What checking a statement asks of a keyring."""

    def statement_key(self, kind: Kind, signer_id: str) -> VerifyKey:
        """Return the key of a signer who may make statements of this kind.

        Raises
        ------
        UnknownSigner, KeyRetired, SignerNotTrusted
        """


def sign_statement(kind: Kind, fields: Mapping[str, Any], signer: Signer) -> dict[str, Any]:
    """Return the statement: the fields, the signer's id as `sid` and the signature as `sig`.

    Parameters
    ----------
    fields
        Texts, integers, booleans, None and lists of texts; times are whole numbers.

    Raises
    ------
    ValueError
        Where a field could not be checked again: says which.
    """
    if not {"sid", "sig"}.isdisjoint(fields):
        raise ValueError("a statement's sid and sig are made, not given")
    said: dict[str, Any] = {**fields, "sid": signer.id}
    signature = signer.sign(_message(kind, said))
    return {**said, "sig": signature.hex()}


def check_statement(kind: Kind, fields: Mapping[str, Any], keyring: StatementVerifier) -> str:
    """Check that a statement was made as it stands, and return its signer's id.

    Every member counts: one that was changed, added or taken away is found.

    Parameters
    ----------
    kind
        What the statement must be about; one of another kind is not believed.
    fields
        The statement, as `read_statement` gives it.
    keyring
        Knows who may make statements of this kind.

    Raises
    ------
    EnvelopeError
        One class a cause; checked in this order: form (EnvelopeMalformed),
        signer (UnknownSigner, KeyRetired, SignerNotTrusted), signature
        (SignatureInvalid).
    """
    said = dict(fields)
    signature, signer_id = said.pop("sig", None), said.get("sid")
    if not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature):
        raise EnvelopeMalformed
    if not isinstance(signer_id, str) or not _KEY_ID.fullmatch(signer_id):
        raise EnvelopeMalformed
    try:
        message = _message(kind, said)
    except ValueError:
        raise EnvelopeMalformed from None
    try:
        keyring.statement_key(kind, signer_id).verify(bytes.fromhex(signature), message)
    except InvalidSignature:
        raise SignatureInvalid from None
    return signer_id


def read_statement(text: str) -> dict[str, Any]:
    """Read a statement's JSON strictly; verifies nothing.

    Raises
    ------
    EnvelopeMalformed
        Where it is no object, names a member twice or is too long.
    """
    # Escapes make a text up to six times as long as what it says.
    if not isinstance(text, str) or len(text) > 6 * MAX_BYTES:
        raise EnvelopeMalformed
    try:
        fields: Any = json.loads(text, object_pairs_hook=_without_twins, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise EnvelopeMalformed from None
    if not isinstance(fields, dict):
        raise EnvelopeMalformed
    return fields


def _without_twins(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands there twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _message(kind: Kind, said: Mapping[str, Any]) -> bytes:
    """Return what is signed: a label that names the kind, then the canonical JSON."""
    if kind not in KINDS:
        raise ValueError("this kind of statement does not exist")
    # One member is kept free for the signature.
    if len(said) >= MAX_MEMBERS:
        raise ValueError("a statement has too many members")
    for name, value in said.items():
        if type(name) is not str or not _NAME.fullmatch(name):
            raise ValueError("a statement's member has no well-formed name")
        if not _allowed(value):
            raise ValueError(f"{name} is not well-formed")
    canonical = json.dumps(
        said, allow_nan=False, ensure_ascii=True, separators=(",", ":"), sort_keys=True
    ).encode()
    if len(canonical) > MAX_BYTES:
        raise ValueError("a statement is too long")
    return f"sealwax statement v1 {kind}\x00".encode() + canonical


def _allowed(value: object) -> bool:
    # Exact types: True is 1 for isinstance, and no fraction has one text in every language.
    kind = type(value)
    if kind is str:
        return len(value) <= MAX_STRING  # type: ignore[arg-type]  # it is a text
    if kind is int:
        return abs(value) <= MAX_INTEGER  # type: ignore[arg-type]  # it is a number
    if kind is list:
        items: list[object] = value  # type: ignore[assignment]  # it is a list
        return len(items) <= MAX_LIST and all(
            type(item) is str and len(item) <= MAX_STRING for item in items
        )
    return value is None or kind is bool
