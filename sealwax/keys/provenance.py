"""Whose a message is: the one rule by which workers and stewards believe what a queue brings.

A message is *the job's own* if the envelope in it was signed, by a signer that
may, for exactly the job and task that its headers name, and if the ledger's
entry agrees. Everything else is a *stray*: it changes nothing but itself. No
private key is needed for that. Anybody who can write to a queue chooses all
other bytes of a message, so nothing else in it is believed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sealwax.envelope.errors import EnvelopeError
from sealwax.envelope.format import Context, Purpose
from sealwax.envelope.verify import Expected, verify_envelope
from sealwax.keys.public import PublicKeyring
from sealwax.ledger import ERASED, LedgerEntry, is_job_id, read_generation
from sealwax.outbox.payloads import PayloadMissing, PayloadStoreError, is_reference
from sealwax.outcomes import DeadLetter, Reason
from sealwax.settings import Settings
from sealwax.transport.codec import Malformed, decode, loads
from sealwax.transport.validation import check_message

__all__ = [
    "Evidence",
    "Own",
    "Stray",
    "born_by",
    "by_record",
    "disagreement",
    "is_own",
    "judge",
    "lane_of",
    "only_argument",
    "verified_context",
]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What judging needs, and nothing that opens.

    Parameters
    ----------
    keyring
        Returns the public keys and the trust list, as last read.
    fetch
        Returns the envelope that a job's reference names, as `PayloadStore.fetch` does.
    refresh
        Reads the keys again because a signer is unknown; returns whether it did.
    entry
        Returns what the ledger keeps of a job.
    """

    keyring: Callable[[], PublicKeyring]
    fetch: Callable[[str, str], str]
    refresh: Callable[[], bool]
    entry: Callable[[str], LedgerEntry | None]


@dataclass(frozen=True, kw_only=True)
class Own:
    """A message whose envelope was verified; what the ledger says of its job is still to be asked.

    Parameters
    ----------
    context
        What the envelope's signature binds it to.
    generation
        Which replay the message says it belongs to, as `read_generation` bounds it.
    argument
        The envelope, or the reference to it.
    """

    context: Context
    generation: int
    argument: str

    @property
    def claim_check(self) -> str | None:
        """The reference that it carries in place of the envelope; None where it carries that."""
        return self.argument if is_reference(self.argument) else None


@dataclass(frozen=True, kw_only=True)
class Stray:
    """A message that is nobody's.

    Parameters
    ----------
    cause
        Short kebab-case code: why.
    error
        Class name of the error that says so.
    job
        The job whose id it bears; None where that is no job's id.
    """

    cause: str
    error: str
    job: str | None = None

    def letter(self) -> DeadLetter:
        """Return the letter under which it is set aside."""
        return DeadLetter(
            reason=Reason.STRAY, cause=self.cause, error=self.error, job=self.job, attempts=0
        )


def only_argument(parts: Any) -> str | None:
    """Return the one text of a sealed message's body; None where it is anything else.

    Exactly `[[text], {}, embed]`, and nothing that Celery would send on when
    the task has ended.
    """
    if not isinstance(parts, list | tuple) or len(parts) != 3:
        return None
    args, kwargs, embed = parts
    if not isinstance(args, list | tuple) or len(args) != 1 or not isinstance(args[0], str):
        return None
    return None if kwargs or any((embed or {}).values()) else args[0]


def verified_context(evidence: Evidence, *, job: str, task: str, argument: str) -> Context:
    """Return what the signature of a message's envelope binds it to.

    Raises
    ------
    sealwax.envelope.errors.EnvelopeError, sealwax.outbox.payloads.PayloadStoreError
        The message is a stray.
    sealwax.outbox.payloads.PayloadStoreUnreachable, sealwax.ledger.LedgerError
        Nobody knows yet.
    """
    text = argument
    if is_reference(argument):
        try:
            text = evidence.fetch(job, argument)
        except PayloadStoreError:
            recorded = _recorded_context(evidence, job=job, task=task, reference=argument)
            if recorded is None:
                raise
            return recorded
    expect = Expected(purpose=Purpose.JOB, task=task, job=job)
    try:
        return verify_envelope(text, keyring=evidence.keyring(), expect=expect).context
    except EnvelopeError as error:
        if not error.transient or not evidence.refresh():
            raise
    return verify_envelope(text, keyring=evidence.keyring(), expect=expect).context


def _recorded_context(evidence: Evidence, *, job: str, task: str, reference: str) -> Context | None:
    """Return what the ledger recorded of a message whose payload is gone; None: it is a stray.

    A reference names its envelope by digest. Where it is the one that was
    recorded as the job was accepted, the message is the job's own, and the job
    cannot be helped: it may die of it.
    """
    entry = evidence.entry(job)
    if entry is None or entry.task != task or reference not in (entry.claim_checks or ()):
        return None
    return Context(
        purpose=Purpose.JOB,
        task=entry.task,
        job=entry.id,
        tenant=entry.tenant,
        contract=entry.contract,
        issued_at=int(entry.created),
        not_after=entry.not_after,
    )


def judge(evidence: Evidence, body: str) -> Own | Stray:
    """Judge a message by its own bytes.

    Raises
    ------
    sealwax.outbox.payloads.PayloadStoreUnreachable, sealwax.ledger.LedgerError
        Nobody knows yet.
    """
    job: str | None = None
    try:
        message = decode(body)
        headers = message.get("headers")
        said = headers.get("id") if isinstance(headers, dict) else None
        job = said if isinstance(said, str) and is_job_id(said) else None
        check_message(message, accept=("application/json",), inflated_bytes=0, strict=True)
        argument = only_argument(loads(message["body"]))
    except Malformed as finding:
        return Stray(cause=finding.kind, error=finding.kind, job=job)
    if job is None:
        return Stray(cause="job-id", error="job-id")
    generation = read_generation(message["headers"].get("generation"))
    if generation is None:
        return Stray(cause="generation", error="generation", job=job)
    if argument is None:
        return Stray(cause="not-sealed", error="NotSealed", job=job)
    try:
        context = verified_context(
            evidence, job=job, task=message["headers"]["task"], argument=argument
        )
    except (EnvelopeError, PayloadStoreError) as error:
        return Stray(cause=error.cause, error=type(error).__name__, job=job)
    return Own(context=context, generation=generation, argument=argument)


def by_record(evidence: Evidence) -> Evidence:
    """Return evidence that fetches no payload whose reference the ledger has recorded.

    For who judges many messages and opens none: the record says as much, and a
    payload may have tens of megabytes.
    """

    def fetch(job: str, reference: str) -> str:
        entry = evidence.entry(job)
        if entry is not None and entry.claim_checks is not None:
            # Judging goes by the record then, and calls a reference that is not there a stray.
            raise PayloadMissing
        return evidence.fetch(job, reference)

    return replace(evidence, fetch=fetch)


def lane_of(settings: Settings, queue: str | None) -> str | None:
    """Return the lane whose queue this is; None where that is not known."""
    if queue is None:
        return None
    return next((lane for lane in settings.lanes if settings.queue_name(lane) == queue), None)


def born_by(context: Context, settings: Settings) -> float:
    """Return the latest acceptance, in epoch seconds, of the job that a message can be of.

    A key used again after its job was forgotten gives the same job id, and
    whoever recorded the first job's message could make the second run what the
    first one said. A job is remembered for `limits.retention_seconds` after its
    last message was sealed; clocks may differ by that much too.
    """
    return context.issued_at + settings.limits.retention_seconds


def disagreement(
    entry: LedgerEntry, own: Own, *, queue: str | None, settings: Settings
) -> Stray | None:
    """Return why a verified message is not this entry's after all; None where it is.

    Parameters
    ----------
    queue
        The queue that it came from; None where that is not known.
    """
    context, claim_check = own.context, own.claim_check
    # An erased job has lost its tenant; its message is acknowledged unread.
    if entry.task != context.task or entry.tenant not in (context.tenant, ERASED):
        return Stray(cause="context-mismatch", error="ContextMismatch", job=entry.id)
    if entry.created > born_by(context, settings):
        return Stray(cause="earlier-job", error="EarlierJob", job=entry.id)
    recorded = entry.claim_checks
    if claim_check is not None and recorded is not None and claim_check not in recorded:
        return Stray(cause="reference", error="ReferenceUnknown", job=entry.id)
    lane = lane_of(settings, queue)
    if lane is not None and entry.lane != lane:
        return Stray(cause="wrong-lane", error="WrongLane", job=entry.id)
    return None


def is_own(
    evidence: Evidence, body: str | bytes, entry: LedgerEntry, *, queue: str, settings: Settings
) -> bool:
    """Whether a body that is kept somewhere is an entry's own message, of whatever generation.

    Raises
    ------
    sealwax.outbox.payloads.PayloadStoreUnreachable, sealwax.ledger.LedgerError
        Nobody knows yet.
    """
    text = body.decode("utf-8", "surrogatepass") if isinstance(body, bytes) else body
    found = judge(evidence, text)
    return (
        isinstance(found, Own)
        and found.context.job == entry.id
        and disagreement(entry, found, queue=queue, settings=settings) is None
    )
