"""From a valid request to an accepted job: seal, record, send.

Called by the API. The order matters: the ledger knows the job before the queue
does, so a worker never meets a sealed job that nobody accepted; and the caller
hears "accepted" only after the queue, or in its place the outbox, has confirmed
the message.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import structlog

from sealwax.envelope import Context, PublicKey, Purpose, SigningKey, seal, sealed_size
from sealwax.errors import SealwaxError
from sealwax.json_limits import JsonLimit, check_json
from sealwax.keys.hmac import JobNames
from sealwax.ledger import JobState, LedgerEntry, LedgerError, NewJob
from sealwax.outbox.store import MAX_BYTES as OUTBOX_BYTES
from sealwax.outbox.store import OutboxError
from sealwax.producer.publish import Publisher, QueuedJob
from sealwax.runtime import Runtime
from sealwax.task_definition import TaskDefinition
from sealwax.transport.errors import TransportError

__all__ = [
    "MESSAGE_OVERHEAD",
    "IdempotencyConflict",
    "JobInFlux",
    "PayloadTooComplex",
    "PayloadTooLarge",
    "QueueUnavailable",
    "Submission",
    "Submitter",
]

log = structlog.get_logger("sealwax.producer.submit")


class IdempotencyConflict(SealwaxError):
    """This Idempotency-Key was used for another request; use a new key."""


class JobInFlux(SealwaxError):
    """Another request with this Idempotency-Key is being accepted now; ask again."""


class QueueUnavailable(SealwaxError):
    """Neither queue nor outbox took the job; it was not accepted, try again later."""


class PayloadTooLarge(SealwaxError):
    """The sealed payload does not fit into a message.

    Parameters
    ----------
    size, limit
        Bytes.
    """

    def __init__(self, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            f"The payload has {size} bytes; at most {limit} are accepted. Send less, or a "
            "reference to where the data is."
        )


class PayloadTooComplex(PayloadTooLarge):
    """The payload has more values, keys or levels than a worker takes, with what was fetched."""

    def __init__(self, kind: str, limit: int) -> None:
        self.limit = limit
        SealwaxError.__init__(self, f"The payload has more than {limit} {kind}; send less.")


#: Bytes that Celery's message adds around an envelope: headers, properties,
#: body frame. Measured 1,150 for our longest task name; rounded up.
MESSAGE_OVERHEAD = 2_048


@dataclass(frozen=True)
class Submission:
    """An accepted job; `created` is False for a repeat with the same key."""

    entry: LedgerEntry
    created: bool


def encode_payload(payload: Any) -> bytes:
    """Return the bytes that are sealed: compact UTF-8 JSON, values and key order kept.

    Raises
    ------
    UnicodeEncodeError
        Where a string holds half a surrogate pair, which is not Unicode text.
    """
    return json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What is asked for, by whom, and what its repeats are told by.

    Parameters
    ----------
    payload
        As the caller sent it.
    hashed_for
        The name that the fingerprint was made with: the tenant's, or that of
        a follow-up's parent in the ledger.
    parent
        Id of the job that enqueues this one.
    delay, expires_in
        As `Submitter.submit` takes them.
    """

    definition: TaskDefinition[Any]
    payload: Any
    names: JobNames
    hashed_for: str
    parent: str | None = None
    delay: float = 0.0
    expires_in: float | None = None


class Submitter:
    """Accepts jobs.

    Parameters
    ----------
    runtime
        Asked for its keys at each job: they are refreshed while the process runs.
    publisher
        Sends what was recorded.
    large
        What fits into no message is stored in the bucket of payloads, and a
        reference sent; or it is refused.
    """

    def __init__(
        self,
        runtime: Runtime,
        publisher: Publisher,
        *,
        large: Literal["store", "refuse"] = "store",
    ) -> None:
        self._runtime = runtime
        self._settings = runtime.settings
        self._ledger = runtime.ledger
        self._publisher = publisher
        self._large = large

    def submit(
        self,
        definition: TaskDefinition[Any],
        payload: Any,
        *,
        tenant: str,
        idempotency_key: str | None = None,
        enrich: Callable[[], Any] | None = None,
        delay: float = 0.0,
        expires_in: float | None = None,
    ) -> Submission:
        """Seal, record and send a payload that fits its contract.

        Parameters
        ----------
        payload
            As the caller sent it: repeats are told by it.
        enrich
            Returns what is sealed in its place. Not called for a repeat of a
            job that has been claimed.
        delay
            Seconds until the first attempt may start; a repeat does not change it.
        expires_in
            Seconds after which no attempt starts any more; nor does it change this.

        Raises
        ------
        IdempotencyConflict, JobInFlux, QueueUnavailable, PayloadTooLarge
        sealwax.ledger.LedgerUnreachable, sealwax.outbox.payloads.PayloadStoreUnreachable
            Nothing was recorded.
        """
        request = _Request(
            definition=definition,
            payload=payload,
            names=self._runtime.hashes.names(
                tenant, definition.name, payload, idempotency_key=idempotency_key
            ),
            hashed_for=tenant,
            delay=delay,
            expires_in=expires_in,
        )
        job_id = self._job_id(request.names)
        if enrich is not None and idempotency_key is not None:
            known = self._ledger.get(job_id)
            if known is not None and known.fence:
                self._match(request, known)
                return Submission(known, created=False)
        return self._accept(request, job_id, enrich() if enrich else payload)

    def follow_up(
        self, definition: TaskDefinition[Any], payload: Any, *, parent: LedgerEntry, key: str
    ) -> Submission:
        """Accept a job that a running job enqueues; the same `key` gives the same job.

        Raises
        ------
        IdempotencyConflict, JobInFlux, QueueUnavailable, PayloadTooLarge
            As `submit` does.
        """
        hashes = self._runtime.hashes
        names = JobNames(
            tenant=parent.tenant,
            group=hashes.fair_group(parent.tenant),
            job_ids=hashes.job_id_candidates(f"follow-up {parent.id}", key),
            fingerprint=hashes.fingerprint(parent.tenant, definition.name, payload),
        )
        request = _Request(
            definition=definition,
            payload=payload,
            names=names,
            hashed_for=parent.tenant,
            parent=parent.id,
        )
        return self._accept(request, self._job_id(names), payload)

    def _job_id(self, names: JobNames) -> str:
        """Return under which of its possible ids a request is known, or the one for a new job.

        Costs a read for each older key that is still kept, nothing without.
        """
        if not names.job_ids:
            return secrets.token_hex(16)
        newest, *older = names.job_ids
        return next((job_id for job_id in older if self._ledger.get(job_id) is not None), newest)

    def _match(self, request: _Request, entry: LedgerEntry) -> None:
        if not entry.fingerprint or not self._runtime.hashes.fingerprint_matches(
            entry.fingerprint, request.hashed_for, request.definition.name, request.payload
        ):
            raise IdempotencyConflict

    def _accept(self, request: _Request, job_id: str, content: Any) -> Submission:
        """Record and send a job; `content` is what is sealed."""
        definition, names, delay = request.definition, request.names, request.delay
        now = self._runtime.clock()
        limits = self._settings.limits
        keyring = self._runtime.keyring
        recipient, signer = keyring.recipient("worker", definition.lane), keyring.signer
        job = NewJob(
            id=job_id,
            task=definition.name,
            tenant=names.tenant,
            lane=definition.lane,
            contract=definition.version,
            created=now,
            not_before=now + delay if delay > 0 else None,
            not_after=int(now + delay + limits.max_age_seconds),
            expires=int(now + delay + limits.max_age_seconds + limits.retention_seconds),
            fingerprint=names.fingerprint,
            recipient=recipient.id,
            signer=signer.id,
            parent=request.parent,
            acceptance=secrets.token_hex(8),
            run_before=now + request.expires_in if request.expires_in else None,
        )
        envelope, fits = self._seal(job, content, recipient, signer)
        if not fits:
            known = self._ledger.get(job_id) if names.fingerprint else None
            if known is not None and not _to_send(known):
                # Nobody would ever fetch, nor delete, what is stored now.
                self._match(request, known)
                return Submission(known, created=False)
            # Before the job is recorded: what the ledger knows can be fetched.
            envelope = self._runtime.stores.payloads.put(job.id, envelope)
            job = replace(job, claim_checks=(envelope,))
        accepted = self._ledger.accept(job)
        entry = accepted.entry
        if not accepted.created:
            again = self._again(request, job, entry)
            if again is None:
                return Submission(entry, created=False)
            job = again
        queued = QueuedJob(
            definition=definition,
            job_id=job.id,
            envelope=envelope,
            group=names.group,
            created=job.created,
            delay=max(0.0, job.not_before - job.created) if job.not_before else 0.0,
        )
        try:
            self._publisher.publish(queued)
        except (TransportError, OutboxError) as error:
            self._give_up(job, error)
        log.info("job accepted", job=job_id, task=job.task, tenant=job.tenant, lane=job.lane)
        return Submission(entry, created=accepted.created)

    def _again(self, request: _Request, job: NewJob, entry: LedgerEntry) -> NewJob | None:
        """Return the job that a repeated request sends; None where it is under way already.

        Raises
        ------
        IdempotencyConflict, JobInFlux
        """
        self._match(request, entry)
        if entry.state is JobState.ABANDONED:
            if not self._ledger.reaccept(job):
                raise JobInFlux
            return job
        if not _to_send(entry):
            return None
        # Accepted and never claimed: perhaps its first message was never
        # sent. Sending again is safe, the ledger absorbs the double; but
        # the first request must not abandon what this one promises, nor this
        # one what the first does.
        if not self._ledger.disown(job):
            raise JobInFlux
        # The first request's word stands: a repeat puts nothing off.
        return replace(job, acceptance=None, not_before=entry.not_before)

    def _seal(
        self, job: NewJob, payload: Any, recipient: PublicKey, signer: SigningKey
    ) -> tuple[str, bool]:
        """Return the envelope, and whether it fits into a message."""
        plaintext = encode_payload(payload)
        try:
            check_json(plaintext, self._settings.limits)
        except JsonLimit as found:
            raise PayloadTooComplex(found.kind, found.limit) from None
        context = Context(
            purpose=Purpose.JOB,
            task=job.task,
            job=job.id,
            tenant=job.tenant,
            contract=job.contract,
            issued_at=int(job.created),
            not_after=job.not_after,
        )
        limits = self._settings.limits
        if len(plaintext) > limits.payload_bytes:
            raise PayloadTooLarge(len(plaintext), limits.payload_bytes)
        # Known before sealing, so that nothing is sealed in vain.
        size = sealed_size(len(plaintext), context, recipient, signer) + MESSAGE_OVERHEAD
        # Any message must fit the outbox too: that SQS is away is known too late.
        fits = size <= min(limits.message_bytes, OUTBOX_BYTES)
        if not fits and self._large == "refuse":
            raise PayloadTooLarge(size, limits.message_bytes)
        return seal(plaintext, context, recipient=recipient, signer=signer), fits

    def _give_up(self, job: NewJob, error: SealwaxError) -> None:
        """Answer that the job was not accepted, unless it was after all.

        A job without a name of its acceptance is not this request's to abandon.

        Raises
        ------
        QueueUnavailable
        """
        try:
            # The message may have arrived all the same: abandoned, it will be
            # acknowledged without running.
            if job.acceptance and self._ledger.abandon(job.id, acceptance=job.acceptance):
                log.warning("job abandoned", job=job.id, task=job.task, cause=_cause(error))
                raise QueueUnavailable from error
            entry = self._ledger.get(job.id)
        except LedgerError as unreachable:
            # Nobody was promised anything; a repeat of the request, or the sweep, finds it.
            raise QueueUnavailable from unreachable
        if entry is None or entry.state in (JobState.ACCEPTED, JobState.ABANDONED):
            # A repeat of the request may have been promised that it runs, so
            # the job stays; this caller was promised nothing.
            raise QueueUnavailable from error
        # Claimed meanwhile: it did arrive.


def _to_send(entry: LedgerEntry) -> bool:
    """Whether a repeated request sends the job again: nobody has begun with it."""
    return entry.state is JobState.ABANDONED or (
        entry.state is JobState.ACCEPTED and not entry.fence
    )


def _cause(error: BaseException) -> str:
    return type(error.__cause__ or error).__name__
