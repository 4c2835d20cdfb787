"""One dead letter: whose it is, what it is called, which group it belongs to. Pure.

Called by the collection, which makes letters of messages, and by everything
that shows them. A letter is a job's own as far as a worker has signed that it
is; every other one is a *stray*, with a name made of its queue and body. It
never looks into the sealed argument.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sealwax.aws.sqs import bare_attributes
from sealwax.deadletters.signature import (
    LetterNotBelieved,
    LetterVerifier,
    SignedLetter,
    body_digest,
    check_letter,
)
from sealwax.ledger import is_job_id
from sealwax.outcomes import Reason
from sealwax.transport.codec import Malformed, decode
from sealwax.transport.dead_letters import ATTRIBUTE

__all__ = [
    "Letter",
    "LetterState",
    "LetterText",
    "beside",
    "fingerprint",
    "first_argument",
    "is_stray_id",
    "letter_key",
    "read",
    "read_own",
    "read_stray",
]

# A job's own letter, or a second one of its place with the digest of its body; strays;
# `m-…` and 8 digits of a digest are of releases before letters were signed.
_LETTER_ID = re.compile(
    r"([0-9a-f]{32}|[ms]-[0-9a-f]{32})\.(\d{1,9}(?:\.(?:[0-9a-f]{8}|[0-9a-f]{32}))?)"
)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:<>-]{0,127}")

#: Numbers that strays' task names fall on: a group of strays counts how many of
#: them it has seen, in a set that no stranger can make longer.
NAMES = 256

#: Longest attribute that is kept beside a letter, in characters.
SAID_MAX = 100_000


class LetterState(StrEnum):
    """Where a letter is."""

    OPEN = "open"
    #: Sent again; its outcome is not known yet.
    REPLAYING = "replaying"
    #: Replayed to an end, which `outcome` tells.
    RESOLVED = "resolved"
    DISCARDED = "discarded"


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A dead letter without its body.

    Parameters
    ----------
    queue
        Name of the queue it died in.
    first, last
        Epoch seconds of its first and last death; copies of one letter collapse.
    at
        Epoch seconds of archiving; lists and cut-offs go by it.
    place
        Module and function where the task's code raised.
    outcome
        How its replay ended: `succeeded`, `died`, `cancelled`, `expired`,
        `superseded` or `gone`; None while that is open.
    sent_as
        Generation under which its replay sent it.
    note
        Why it was discarded.
    big
        Whether its body is in S3.
    claims
        The job whose id a stray bears, for searching: nothing else follows from it.
    conflict
        Whether another body has the job's place in this generation already;
        somebody has to look at both.
    named
        Which of `NAMES` the name of the task falls on that a stray bears; None
        where it bears none. A group counts them.
    """

    id: str
    state: LetterState
    group: str
    queue: str
    reason: str
    at: float
    first: float
    last: float
    generation: int = 0
    attempts: int = 0
    copies: int = 1
    task: str | None = None
    job: str | None = None
    cause: str | None = None
    error: str | None = None
    place: str | None = None
    message_id: str | None = None
    ordering: str | None = None
    bytes: int = 0
    digest: str = ""
    replay: str | None = None
    sent_as: int | None = None
    outcome: str | None = None
    settled: float | None = None
    note: str | None = None
    big: bool = False
    claims: str | None = None
    conflict: bool = False
    named: int | None = None

    @property
    def own(self) -> bool:
        """Whether the letter has its job's own place, and no other name."""
        return self.job is not None and self.id == f"{self.job}.{self.generation}"

    @property
    def stray(self) -> bool:
        """Whether it is no job's: it is never sent again, and touches no job."""
        return self.reason == Reason.STRAY

    @classmethod
    def from_item(cls, item: dict[str, Any]) -> Letter:
        """Read an item's plain values; unknown attributes are left out."""
        known = cls.__dataclass_fields__
        values = {name: value for name, value in item.items() if name in known}
        values["id"] = f"{item['id']}.{item['sort'].removeprefix('letter.')}"
        values["state"] = LetterState(values["state"])
        return cls(**values)

    def values(self) -> dict[str, Any]:
        """Return the attributes of its item, without the keys."""
        return {name: value for name, value in vars(self).items() if name != "id"}


@dataclass(frozen=True)
class LetterText:
    """A letter's body, byte for byte, its attributes, and what the dead-letter attribute said."""

    body: bytes
    attributes: dict[str, dict[str, Any]]
    said: str | None


def first_argument(body: bytes | str) -> str | None:
    """Return what a task message's body carries: an envelope or a claim check, unchecked.

    None where there is none to read.
    """
    try:
        found = json.loads(json.loads(body)["body"])[0][0]
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return found if isinstance(found, str) else None


def letter_key(letter_id: str) -> tuple[str, str] | None:
    """Return the id and the rest that a letter is kept under; None where it is no letter's id."""
    match = _LETTER_ID.fullmatch(letter_id)
    return (match[1], match[2]) if match else None


def is_stray_id(letter_id: str) -> bool:
    """Whether a text can be a stray's id."""
    return letter_id.startswith("s-") and letter_key(letter_id) is not None


def fingerprint(
    *,
    queue: str,
    task: str | None,
    reason: str,
    cause: str | None,
    error: str | None,
    place: str | None,
) -> str:
    """Return what letters of one kind have in common, as 16 hex digits; nothing of the payload."""
    parts = json.dumps([queue, task, reason, cause, error, place], separators=(",", ":"))
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def read(
    message: dict[str, Any],
    *,
    queue: str,
    lane: str | None,
    now: float,
    verifier: LetterVerifier,
) -> tuple[Letter, LetterText]:
    """Make a letter of a message of a dead-letter queue; anything at all becomes one.

    Parameters
    ----------
    message
        As ReceiveMessage returns it.
    queue
        Name of the queue that it died in.
    lane
        The lane of that queue.
    now
        Epoch seconds.
    verifier
        Public keys, and whose they are.
    """
    text = _text_of(message)
    try:
        signed = check_letter(text.said, body=text.body, queue=queue, lane=lane, verifier=verifier)
    except LetterNotBelieved as error:
        return read_stray(message, queue=queue, now=now, cause=error.cause)
    if not signed.own or signed.job is None:
        return _signed_stray(message, text, signed, now=now)
    return read_own(message, queue=queue, now=now, signed=signed)


def read_own(
    message: dict[str, Any], *, queue: str, now: float, signed: SignedLetter
) -> tuple[Letter, LetterText]:
    """Make a letter of a job's own message: somebody has verified that it is that.

    Parameters
    ----------
    signed
        What is known of it, by a worker's signature or as the caller judged.
    """
    text = _text_of(message)
    at = signed.at if 0 < signed.at <= now + 3_600 else now
    cause, error, place = _word(signed.cause), _word(signed.error), _word(signed.place)
    system = message.get("Attributes") or {}
    letter = Letter(
        id=f"{signed.job}.{signed.generation}",
        state=LetterState.OPEN,
        group=fingerprint(
            queue=queue,
            task=signed.task,
            reason=signed.reason.value,
            cause=cause,
            error=error,
            place=place,
        ),
        queue=queue,
        reason=signed.reason.value,
        at=now,
        first=at,
        last=at,
        generation=signed.generation,
        attempts=signed.attempts,
        task=signed.task,
        job=signed.job,
        cause=cause,
        error=error,
        place=place,
        message_id=_word(signed.message_id) or str(message["MessageId"]),
        ordering=_text(system.get("MessageGroupId")) if queue.endswith(".fifo") else None,
        bytes=len(text.body),
        digest=signed.body,
    )
    return letter, text


def _signed_stray(
    message: dict[str, Any], text: LetterText, signed: SignedLetter, *, now: float
) -> tuple[Letter, LetterText]:
    cause = signed.cause or signed.reason.value
    letter, _ = read_stray(message, queue=signed.queue, now=now, cause=cause)
    at = signed.at if signed.at <= now + 3_600 else now
    claims = signed.job if signed.job is not None and is_job_id(signed.job) else letter.claims
    return replace(letter, first=at, last=at, claims=claims), text


def read_stray(
    message: dict[str, Any], *, queue: str, now: float, cause: str
) -> tuple[Letter, LetterText]:
    """Make a stray of a message, whatever it says of itself.

    Parameters
    ----------
    cause
        Why it is nobody's: a short kebab-case code.
    """
    text = _text_of(message)
    digest = body_digest(text.body)
    headers = _headers(message["Body"])
    claims, task = _text(headers.get("id")), _text(headers.get("task"))
    name = hashlib.sha256(f"{queue}\n{digest}".encode()).hexdigest()[:32]
    return Letter(
        # Copies of one body collapse, and nothing else does.
        id=f"s-{name}.0",
        state=LetterState.OPEN,
        # One for a queue, whatever strangers think of.
        group=fingerprint(
            queue=queue, task=None, reason=Reason.STRAY, cause=None, error=None, place=None
        ),
        queue=queue,
        reason=Reason.STRAY.value,
        at=now,
        first=now,
        last=now,
        cause=_word(cause),
        message_id=str(message["MessageId"]),
        bytes=len(text.body),
        digest=digest,
        claims=claims if claims is not None and is_job_id(claims) else None,
        named=None if task is None else _number(task),
    ), text


def beside(letter: Letter) -> Letter:
    """Return a letter whose place another body has already, under a name of its own."""
    return replace(letter, id=f"{letter.id}.{letter.digest[:32]}", conflict=True)


def _text_of(message: dict[str, Any]) -> LetterText:
    attributes = dict(message.get("MessageAttributes") or {})
    said = attributes.pop(ATTRIBUTE, {}).get("StringValue")
    if said is not None and len(said) > SAID_MAX:
        # No statement is so long, and no item of the archive's takes it: it goes where
        # bodies go.
        attributes[ATTRIBUTE] = {"DataType": "String", "StringValue": said}
        said = None
    data = message["Body"].encode("utf-8", "surrogatepass")
    return LetterText(data, bare_attributes(attributes), said)


def _headers(body: str) -> dict[str, Any]:
    """Return what a body says of itself; empty where it says nothing that can be read."""
    try:
        headers = decode(body).get("headers")
    except Malformed:
        return {}
    return headers if isinstance(headers, dict) else {}


def _number(task: str) -> int:
    """Return which of `NAMES` a task's name falls on."""
    return hashlib.sha256(task.encode("utf-8", "surrogatepass")).digest()[0] % NAMES


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _word(value: object) -> str | None:
    """Return a class name or a kebab-case word, and no other text."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None
