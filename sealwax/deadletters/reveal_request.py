"""An operator's request to reveal a letter: what it says, and whether a worker believes it.

A statement of kind `reveal`, signed on the operator's machine by `sealwax letters
reveal` and checked by the worker that is to open the letter. The API hands it
on. Nothing else that the API or its table says of a request is believed.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sealwax.deadletters.errors import RevealRefused
from sealwax.deadletters.letter import letter_key
from sealwax.envelope.errors import EnvelopeError
from sealwax.envelope.statement import check_statement, read_statement
from sealwax.keys.public import Operator, PublicKeyring

__all__ = [
    "AGE_MAX", "REASON_MAX", "SKEW", "RevealRequest", "check_request", "is_request_id",
    "new_fields", "read_request",
]  # fmt: skip

#: Oldest request that is answered, in seconds after it was signed.
AGE_MAX = 600

#: Seconds by which the operator's clock may be ahead of the worker's.
SKEW = 60

#: Longest reason, in characters: a line of the audit log keeps no more.
REASON_MAX = 1_000

_ID = re.compile(r"[0-9a-f]{32}")
_MEMBERS = frozenset({"letter", "why", "at", "nonce", "operator", "sid", "sig"})


@dataclass(frozen=True, kw_only=True)
class RevealRequest:
    """What an operator asks for.

    Parameters
    ----------
    letter
        Id of the letter whose payload is asked for.
    why
        The reason, for the audit log.
    at
        Epoch seconds when it was signed.
    nonce
        32 hex digits, random: the request's id, and what its answer is bound to.
    operator
        Id of the operator's key.
    """

    letter: str
    why: str
    at: int
    nonce: str
    operator: str


def is_request_id(text: str) -> bool:
    """Whether a text can be the id of a request to reveal."""
    return _ID.fullmatch(text) is not None


def new_fields(letter: str, why: str, *, operator: str, now: int) -> dict[str, Any]:
    """Return what an operator signs, with a new nonce.

    Parameters
    ----------
    now
        Epoch seconds.
    """
    return {
        "letter": letter,
        "why": why,
        "at": now,
        "nonce": secrets.token_hex(16),
        "operator": operator,
    }


def read_request(statement: object) -> tuple[RevealRequest, Mapping[str, Any]]:
    """Read a request's form; verifies nothing.

    Parameters
    ----------
    statement
        Its JSON text, or the object that this text stands for.

    Returns
    -------
    The request, and the statement that `check_request` verifies.

    Raises
    ------
    RevealRefused
        `request-malformed`.
    """
    try:
        fields = read_statement(
            statement if isinstance(statement, str) else json.dumps(statement, allow_nan=False)
        )
    except (EnvelopeError, TypeError, ValueError, RecursionError):
        raise RevealRefused("request-malformed") from None
    texts = all(isinstance(fields.get(name), str) for name in _MEMBERS - {"at"})
    if set(fields) != _MEMBERS or not texts or type(fields["at"]) is not int:
        raise RevealRefused("request-malformed")
    request = RevealRequest(
        **{name: value for name, value in fields.items() if name not in ("sid", "sig")}
    )
    if (
        letter_key(request.letter) is None
        or not is_request_id(request.nonce)
        or not request.why.strip()
        or len(request.why) > REASON_MAX
    ):
        raise RevealRefused("request-malformed")
    return request, fields


def check_request(
    statement: object, *, request_id: str, keyring: PublicKeyring, now: float
) -> tuple[RevealRequest, Operator]:
    """Check that an enrolled operator asks for this, now.

    Whether the nonce was used before is not known here.

    Parameters
    ----------
    request_id
        The id under which the request lies: it must be the one that was signed.
    keyring
        The shared keyring as it stands now: whoever was removed asks in vain.
    now
        Epoch seconds.

    Raises
    ------
    RevealRefused
        Its cause says why.
    """
    request, fields = read_request(statement)
    try:
        signer = check_statement("reveal", fields, keyring)
        operator = keyring.operator(signer)
    except EnvelopeError as error:
        raise RevealRefused(error.cause) from None
    if request.operator != signer:
        raise RevealRefused("operator-mismatch")
    if request.nonce != request_id:
        raise RevealRefused("request-mismatch")
    if request.at < now - AGE_MAX:
        raise RevealRefused("request-too-old")
    if request.at > now + SKEW:
        raise RevealRefused("request-from-the-future")
    return request, operator
