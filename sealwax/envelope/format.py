"""The text form of an envelope and its header; no cryptography here.

`swx1.<header>.<sealed>.<signature>`, each part base64url without padding. Only
the one canonical encoding of each is accepted, so that two texts never mean the
same envelope.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sealwax.envelope.errors import EnvelopeMalformed, EnvelopeVersionUnsupported
from sealwax.envelope.public_keys import Suite

__all__ = ["Context", "Header", "Parts", "Purpose", "decode", "encode_header", "join", "split"]

VERSION = "swx1"
#: Longest header in bytes; ours have about 350.
MAX_HEADER = 4_096
#: Longest text in characters that is looked at: 32 MiB payloads in base64, and some.
MAX_TEXT = 64 * 1024 * 1024
SIGNATURE_BYTES = 64

_TASK = re.compile(r"[a-z][a-z0-9_.]{0,99}")
_JOB = re.compile(r"[0-9a-f]{32}")
_TENANT = re.compile(r"[0-9a-f]{16,64}")
_KEY_ID = re.compile(r"[0-9a-f]{16}")
#: Epoch seconds up to the year 9999.
_MAX_TIME = 253_402_300_799


class Purpose(StrEnum):
    """What an envelope is for; one made for one purpose does not open for another."""

    JOB = "job"
    RESULT = "result"
    REVEAL = "reveal"


@dataclass(frozen=True, kw_only=True)
class Context:
    """What is bound to the payload: who may open it as what.

    Parameters
    ----------
    task
        Task name.
    job
        Job id, 32 hex digits.
    tenant
        HMAC of the tenant, 16 to 64 hex digits.
    contract
        Version of the task's contract, from 1.
    issued_at, not_after
        Epoch seconds.

    Raises
    ------
    ValueError
        Where a field is not well-formed; names it.
    """

    purpose: Purpose
    task: str
    job: str
    tenant: str
    contract: int
    issued_at: int
    not_after: int

    def __post_init__(self) -> None:
        """Refuse what the header could not carry."""
        for name, pattern in (("task", _TASK), ("job", _JOB), ("tenant", _TENANT)):
            if not pattern.fullmatch(getattr(self, name)):
                raise ValueError(f"{name} is not well-formed")
        for name, least, most in (
            ("contract", 1, 1_000_000),
            ("issued_at", 0, _MAX_TIME),
            ("not_after", 0, _MAX_TIME),
        ):
            # A float or bool would be sealed, and never opened.
            value: object = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise ValueError(f"{name} is not well-formed")


@dataclass(frozen=True, kw_only=True)
class Header:
    """The header: suite, key ids and context; in clear, but signed and bound."""

    suite: Suite
    recipient: str
    signer: str
    context: Context


@dataclass(frozen=True)
class Parts:
    """A decoded text."""

    header_bytes: bytes
    header: Header
    sealed: bytes
    signature: bytes


def encode_header(header: Header) -> bytes:
    """Return the header's one canonical JSON: sorted names, no spaces, ASCII."""
    context = header.context
    kem, kdf, aead = header.suite.numbers
    return json.dumps(
        {
            "aead": aead,
            "contract": context.contract,
            "exp": context.not_after,
            "iat": context.issued_at,
            "job": context.job,
            "kdf": kdf,
            "kem": kem,
            "kid": header.recipient,
            "purpose": context.purpose.value,
            "sid": header.signer,
            "task": context.task,
            "tenant": context.tenant,
            "v": 1,
        },
        separators=(",", ":"),
        sort_keys=True,
    ).encode()


def join(header: bytes, sealed: bytes, signature: bytes) -> str:
    """Return the text."""
    parts = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in
             (header, sealed, signature))  # fmt: skip
    return ".".join((VERSION, *parts))


def split(text: str) -> Parts:
    """Read a text's form and header; verifies nothing.

    Raises
    ------
    EnvelopeMalformed, EnvelopeVersionUnsupported
    """
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise EnvelopeMalformed
    version, *rest = text.split(".", 4)
    if version != VERSION:
        if re.fullmatch(r"swx[0-9]{1,4}", version):
            raise EnvelopeVersionUnsupported
        raise EnvelopeMalformed
    if len(rest) != 3 or len(rest[0]) > MAX_HEADER * 4 // 3 + 4:
        raise EnvelopeMalformed
    header_bytes, sealed, signature = (_decode_part(part) for part in rest)
    if len(header_bytes) > MAX_HEADER or len(signature) != SIGNATURE_BYTES or not sealed:
        raise EnvelopeMalformed
    return Parts(header_bytes, decode(header_bytes), sealed, signature)


def _decode_part(part: str) -> bytes:
    try:
        raw = base64.b64decode(
            part.encode("ascii") + b"=" * (-len(part) % 4), altchars=b"-_", validate=True
        )
    except (ValueError, binascii.Error):
        raise EnvelopeMalformed from None
    # Trailing bits that are not zero would let one envelope have several texts.
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != part:
        raise EnvelopeMalformed
    return raw


_FIELDS: dict[str, type] = {
    "aead": int, "contract": int, "exp": int, "iat": int, "job": str, "kdf": int, "kem": int,
    "kid": str, "purpose": str, "sid": str, "task": str, "tenant": str, "v": int,
}  # fmt: skip


def decode(header_bytes: bytes) -> Header:
    """Read a header strictly: exactly our fields, exactly our encoding.

    Raises
    ------
    EnvelopeMalformed, EnvelopeVersionUnsupported
    """
    try:
        fields: Any = json.loads(header_bytes.decode("ascii"))
    except (ValueError, RecursionError):
        raise EnvelopeMalformed from None
    if not isinstance(fields, dict) or set(fields) != set(_FIELDS):
        raise EnvelopeMalformed
    if any(type(fields[name]) is not kind for name, kind in _FIELDS.items()):
        raise EnvelopeMalformed
    if fields["v"] != 1:
        raise EnvelopeVersionUnsupported
    suite = Suite.by_numbers((fields["kem"], fields["kdf"], fields["aead"]))
    if suite is None:
        raise EnvelopeVersionUnsupported
    if not _KEY_ID.fullmatch(fields["kid"]) or not _KEY_ID.fullmatch(fields["sid"]):
        raise EnvelopeMalformed
    try:
        context = Context(
            purpose=Purpose(fields["purpose"]),
            task=fields["task"],
            job=fields["job"],
            tenant=fields["tenant"],
            contract=fields["contract"],
            issued_at=fields["iat"],
            not_after=fields["exp"],
        )
    except ValueError:
        raise EnvelopeMalformed from None
    header = Header(suite=suite, recipient=fields["kid"], signer=fields["sid"], context=context)
    if encode_header(header) != header_bytes:
        raise EnvelopeMalformed
    return header
