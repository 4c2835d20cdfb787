"""Why a letter died, as a sentence for people. Pure.

Called by the console and the operations API.
"""

from __future__ import annotations

from sealwax.deadletters.letter import Letter
from sealwax.outcomes import Reason

__all__ = ["explain"]

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

#: Why a letter is a stray, by the cause that its reader or the worker found; all others
#: are in `_KINDS`.
_STRAYS = {
    "unsigned": "no worker has signed what it says of itself",
    "signature-invalid": "a signature on it does not fit",
    "unknown-signer": "the key that signed it is not in the trust list",
    "signer-not-trusted": "the key that signed it may not sign this",
    "not-a-worker": "the key that signed its letter is no worker's",
    "wrong-lane": "it belongs to another lane",
    "wrong-queue": "its letter was signed for another queue",
    "wrong-body": "its letter was signed for another body",
    "context-mismatch": "its envelope belongs to another job, task or tenant",
    "not-sealed": "it is not sealed",
    "unknown-task": "no worker of this queue knows its task, and nobody has signed it",
    "no-ledger-entry": "it is genuine, but the ledger knows no such job",
    "generation": "it belongs to another generation of its job than the ledger's",
    "job-not-dead": "its job is not dead: this copy was not needed",
    "key-retired": "the key that signed it was retired",
}


def explain(letter: Letter) -> str:
    """Return a sentence for people on why the letter died."""
    reason = Reason.read(letter.reason)
    text = reason.text if reason else f"It was dead-lettered as {letter.reason}"
    if letter.stray:
        why = _STRAYS.get(letter.cause or "") or _KINDS.get(letter.cause or "")
        return f"The message is no job's own: {why or letter.cause or 'nobody has said why'}."
    if reason is Reason.MALFORMED:
        kind = letter.error or ""
        return f"{text}: {_KINDS.get(kind, f'its field {kind!r} is wrong')}."
    if letter.cause:
        text += f" ({letter.cause})"
    if letter.error and letter.error != letter.cause:
        text += f", {letter.error}"
    return f"{text} after {letter.attempts} attempts." if letter.attempts else f"{text}."
