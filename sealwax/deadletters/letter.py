"""One dead letter: what it is called, which group it belongs to, why it died. Pure.

Called by the collection, which makes letters of messages, and by everything
that shows them. It never looks into the sealed argument.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sealwax.aws.sqs import bare_attributes
from sealwax.ledger import is_job_id, read_generation
from sealwax.outcomes import Reason
from sealwax.transport.codec import Malformed, decode
from sealwax.transport.dead_letters import ATTRIBUTE, read_attribute
from sealwax.transport.validation import check_message

__all__ = [
    "Letter",
    "LetterState",
    "LetterText",
    "explain",
    "fingerprint",
    "first_argument",
    "letter_key",
    "read",
]

#: Reasons given before the envelope was verified: whoever can write to the queue
#: can make such a letter in a job's name, so it never takes the job's own place.
UNVERIFIED = frozenset(reason for reason in Reason if not reason.verified)

#: A task's name as far as it may name a group when nobody has verified it.
_TASK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_LETTER_ID = re.compile(r"([0-9a-f]{32}|m-[0-9a-f]{32})\.(\d{1,9}(?:\.[0-9a-f]{8})?)")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:<>-]{0,127}")

#: Deepest nesting of a body that is still read.
_DEPTH = 64


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

    @property
    def own(self) -> bool:
        """Whether the letter has its job's own place, and no other name."""
        return self.job is not None and self.id == f"{self.job}.{self.generation}"

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
    now: float,
) -> tuple[Letter, LetterText]:
    """Make the letter of a received message.

    Parameters
    ----------
    message
        As ReceiveMessage returns it, with all attributes.
    queue
        Name of the queue it died in. What the message says of that is not
        believed: a replay sends there.

    Notes
    -----
    SQS's own redrive names no reason: then it is `backstop`, or `malformed`
    where the body is no task message.
    """
    attributes = dict(message.get("MessageAttributes") or {})
    said = attributes.pop(ATTRIBUTE, {}).get("StringValue")
    given = read_attribute(said)
    details = given.details if given else {}
    body: str = message["Body"]
    data = body.encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(data).hexdigest()
    headers, kind = _headers(body)
    why = given.reason if given else Reason.MALFORMED if kind else Reason.BACKSTOP
    job = (given.job if given else None) or _text(headers.get("id"))
    job = job if job is not None and is_job_id(job) else None
    task = _text(details.get("task")) or _text(headers.get("task"))
    task = task if task is not None and _TASK.fullmatch(task) else None
    if why in (Reason.MALFORMED, Reason.STRAY):
        task = None  # a stranger may name any task, and as many as it likes
    cause, error, place = (
        _word(given.cause if given else None),
        _word(given.error if given else kind),
        _word(given.place if given else None),
    )
    message_id = _word(details.get("message_id")) or str(message["MessageId"])
    # Not a stranger's number, which could make a name that no table takes.
    generation = read_generation(headers.get("generation")) or 0
    died = details.get("at")
    at = float(died) if isinstance(died, int | float) and 0 < died <= now + 3_600 else now
    system = message.get("Attributes") or {}
    letter = Letter(
        id=_name(job, generation, why, digest, queue, message_id),
        state=LetterState.OPEN,
        group=fingerprint(
            queue=queue, task=task, reason=why.value, cause=cause, error=error, place=place
        ),
        queue=queue,
        reason=why.value,
        at=now,
        first=at,
        last=at,
        generation=generation,
        attempts=(given.attempts if given else None) or 0,
        task=task,
        job=job,
        cause=cause,
        error=error,
        place=place,
        message_id=message_id,
        ordering=_text(system.get("MessageGroupId")) if queue.endswith(".fifo") else None,
        bytes=len(data),
        digest=digest,
    )
    return letter, LetterText(data, bare_attributes(attributes), said)


def _name(
    job: str | None, generation: int, reason: str, digest: str, queue: str, message_id: str
) -> str:
    if job is None:
        name = hashlib.sha256(f"{queue}\n{message_id}".encode()).hexdigest()[:32]
        return f"m-{name}.0"
    if reason in UNVERIFIED:
        return f"{job}.{generation}.{digest[:8]}"
    return f"{job}.{generation}"


def _headers(body: str) -> tuple[dict[str, Any], str | None]:
    """Return a body's headers, and what is wrong with it where it is no task message."""
    try:
        decoded = decode(body, max_depth=_DEPTH)
    except Malformed as finding:
        return {}, finding.kind
    headers = decoded.get("headers")
    try:
        check_message(decoded, accept=("application/json",), max_depth=_DEPTH, inflated_bytes=0)
    except Malformed as finding:
        return headers if isinstance(headers, dict) else {}, finding.kind
    return dict(headers) if isinstance(headers, dict) else {}, None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _word(value: object) -> str | None:
    """Return a class name or a kebab-case word, and no other text."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None


#: What is wrong with a malformed message, by the kind that its reader found.
_KINDS = {
    "not-json": "its body is neither JSON nor the base64 of it",
    "not-an-object": "its body is JSON but no object",
    "too-deep": "its body is nested too deeply",
    "bad-number": "its body holds a number that JSON does not have",
    "headers": "it has no headers",
    "header-name": "a header's name is not allowed",
    "task": "its headers name no task",
    "id": "its headers have no id",
    "job-id": "its id is not that of a job",
    "properties": "its properties are no object",
    "content-type": "its content type is not served",
    "content-encoding": "its content encoding does not fit its content type",
    "compression": "it is compressed in a way that is not served",
    "body": "its inner body is missing or not of the form [args, kwargs, embed]",
    "body-text": "its inner body is not text",
    "body-base64": "its inner body is not base64",
    "body_encoding": "its inner body's encoding is not served",
    "args": "its positional arguments are no list",
    "kwargs": "its keyword arguments are no object",
    "embed": "the third part of its inner body is wrong",
    "eta": "its eta is no date",
    "expires": "its expiry is no date",
    "generation": "its generation is ahead of the ledger's",
    "unknown-message": "Celery does not recognise it",
    "DecodeError": "its inner body cannot be decoded",
}


def explain(letter: Letter) -> str:
    """Return a sentence for people on why the letter died."""
    reason = Reason.read(letter.reason)
    text = reason.text if reason else f"It was dead-lettered as {letter.reason}"
    if reason is Reason.MALFORMED:
        kind = letter.error or ""
        return f"{text}: {_KINDS.get(kind, f'its field {kind!r} is wrong')}."
    if letter.cause:
        text += f" ({letter.cause})"
    if letter.error and letter.error != letter.cause:
        text += f", {letter.error}"
    return f"{text} after {letter.attempts} attempts." if letter.attempts else f"{text}."
