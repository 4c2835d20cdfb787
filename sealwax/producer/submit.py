"""From a valid request to an accepted job: seal, record, send.

Called by the API. The order matters: the ledger knows the job before the queue
does, so a worker never meets a sealed job that nobody accepted; and the caller
hears "accepted" only after the queue, or in its place the outbox, has confirmed
the message.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import structlog

from sealwax.envelope import Context, PublicKey, Purpose, SigningKey, seal, sealed_size
from sealwax.errors import SealwaxError
from sealwax.keys.hmac import KeyedHashes
from sealwax.keys.keyring import Keyring
from sealwax.ledger import JobState, Ledger, LedgerEntry, LedgerError, NewJob
from sealwax.outbox.payloads import PayloadStore
from sealwax.outbox.store import MAX_BYTES as OUTBOX_BYTES
from sealwax.outbox.store import OutboxError
from sealwax.producer.publish import Deferral, Publisher, QueuedJob
from sealwax.settings import Settings
from sealwax.task_definition import TaskDefinition
from sealwax.transport.errors import QueueUnreachable, TransportError
from sealwax.transport.options import MAX_DELAY

__all__ = [
    "MESSAGE_OVERHEAD",
    "IdempotencyConflict",
    "JobInFlux",
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


class Submitter:
    """Accepts jobs.

    Parameters
    ----------
    keyring
        Called for each job, because keys are refreshed while the process runs.
    deferral
        Keeps what SQS does not take now and what is to start later; without it
        both are refused.
    clock
        Epoch seconds.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        keyring: Callable[[], Keyring],
        hashes: Callable[[], KeyedHashes],
        ledger: Ledger,
        publisher: Publisher,
        payloads: Callable[[], PayloadStore] | None = None,
        deferral: Deferral | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._keyring = keyring
        self._hashes = hashes
        self._ledger = ledger
        self._publisher = publisher
        self._payloads = payloads
        self._deferral = deferral
        self._clock = clock

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
        hashes = self._hashes()
        if idempotency_key is None:
            job_id, fingerprint = secrets.token_hex(16), None
        else:
            job_id = self._known(hashes.job_id_candidates(tenant, idempotency_key))
            fingerprint = hashes.fingerprint(tenant, definition.name, payload)
            if enrich is not None:
                known = self._ledger.get(job_id)
                if known is not None and known.fence:
                    self._match(known, tenant, definition, payload)
                    return Submission(known, created=False)
        return self._accept(
            definition,
            enrich() if enrich else payload,
            job_id=job_id,
            tenant_ref=hashes.tenant_ref(tenant),
            fingerprint=fingerprint,
            match=lambda entry: self._match(entry, tenant, definition, payload),
            delay=delay,
            expires_in=expires_in,
        )

    def _known(self, candidates: list[str]) -> str:
        """Return under which of its possible ids a request is known, or the one for a new job.

        Costs a read for each older key that is still kept, nothing without.
        """
        newest, *older = candidates
        return next((job_id for job_id in older if self._ledger.get(job_id) is not None), newest)

    def follow_up(
        self, definition: TaskDefinition[Any], payload: Any, *, parent: LedgerEntry, key: str
    ) -> Submission:
        """Accept a job that a running job enqueues; the same `key` gives the same job.

        Raises
        ------
        IdempotencyConflict, JobInFlux, QueueUnavailable, PayloadTooLarge
            As `submit` does.
        """
        hashes = self._hashes()
        job_id = self._known(hashes.job_id_candidates(f"follow-up {parent.id}", key))
        fingerprint = hashes.fingerprint(parent.tenant, definition.name, payload)

        def match(entry: LedgerEntry) -> None:
            if not entry.fingerprint or not hashes.fingerprint_matches(
                entry.fingerprint, parent.tenant, definition.name, payload
            ):
                raise IdempotencyConflict

        return self._accept(
            definition,
            payload,
            job_id=job_id,
            tenant_ref=parent.tenant,
            fingerprint=fingerprint,
            match=match,
            parent=parent.id,
        )

    def _match(
        self, entry: LedgerEntry, tenant: str, definition: TaskDefinition[Any], payload: Any
    ) -> None:
        if entry.fingerprint is None or not self._hashes().fingerprint_matches(
            entry.fingerprint, tenant, definition.name, payload
        ):
            raise IdempotencyConflict

    def _accept(
        self,
        definition: TaskDefinition[Any],
        payload: Any,
        *,
        job_id: str,
        tenant_ref: str,
        fingerprint: str | None,
        match: Callable[[LedgerEntry], None],
        parent: str | None = None,
        delay: float = 0.0,
        expires_in: float | None = None,
    ) -> Submission:
        now = self._clock()
        limits = self._settings.limits
        keyring = self._keyring()
        recipient, signer = keyring.recipient("worker", definition.lane), keyring.signer
        job = NewJob(
            id=job_id,
            task=definition.name,
            tenant=tenant_ref,
            lane=definition.lane,
            contract=definition.version,
            created=now,
            not_before=now + delay if delay > 0 else None,
            not_after=int(now + delay + limits.max_age_seconds),
            expires=int(now + delay + limits.max_age_seconds + limits.retention_seconds),
            fingerprint=fingerprint,
            recipient=recipient.id,
            signer=signer.id,
            parent=parent,
            acceptance=secrets.token_hex(8),
            run_before=now + expires_in if expires_in else None,
        )
        envelope, fits = self._seal(job, payload, recipient, signer)
        if not fits:
            known = self._ledger.get(job_id) if fingerprint else None
            if known is not None and not _to_send(known):
                # Nobody would ever fetch, nor delete, what is stored now.
                match(known)
                return Submission(known, created=False)
            envelope = self._store(job, envelope)
            job = replace(job, claim_checks=(envelope,))
        accepted = self._ledger.accept(job)
        entry = accepted.entry
        may_abandon = True
        if not accepted.created:
            match(entry)
            if entry.state is JobState.ABANDONED:
                if not self._ledger.reaccept(job):
                    raise JobInFlux
            elif not _to_send(entry):
                return Submission(entry, created=False)
            else:
                # Accepted and never claimed: perhaps its first message was never
                # sent. Sending again is safe, the ledger absorbs the double; but
                # the first request must not abandon what this one promises.
                if not self._ledger.disown(job):
                    raise JobInFlux
                may_abandon = False
                # The first request's word stands: a repeat puts nothing off.
                job = replace(job, not_before=entry.not_before)
        self._send(definition, job, envelope, may_abandon=may_abandon)
        log.info("job accepted", job=job_id, task=job.task, tenant=job.tenant, lane=job.lane)
        return Submission(entry, created=accepted.created)

    def _seal(
        self, job: NewJob, payload: Any, recipient: PublicKey, signer: SigningKey
    ) -> tuple[str, bool]:
        """Return the envelope, and whether it fits into a message."""
        plaintext = encode_payload(payload)
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
        if not fits and self._payloads is None:
            raise PayloadTooLarge(size, limits.message_bytes)
        return seal(plaintext, context, recipient=recipient, signer=signer), fits

    def _store(self, job: NewJob, envelope: str) -> str:
        """Store what fits into no message before the job is recorded; return the reference."""
        if self._payloads is None:
            raise AssertionError("its size was refused")
        return self._payloads().put(job.id, envelope)

    def _send(
        self, definition: TaskDefinition[Any], job: NewJob, envelope: str, *, may_abandon: bool
    ) -> None:
        fifo = self._settings.queue_name(definition.lane).endswith(".fifo")
        delay = max(0.0, job.not_before - job.created) if job.not_before else 0.0
        # Longer than SQS delays a message; on a FIFO queue it delays none.
        later = delay > MAX_DELAY or (delay > 0 and fifo)
        queued = QueuedJob(
            definition=definition,
            job_id=job.id,
            envelope=envelope,
            # The tenant's HMAC again hashed: what SQS shows says nothing of the ledger's.
            group=self._hashes().fair_group(job.tenant),
            delay=0.0 if later else delay,
        )
        try:
            if not later:
                try:
                    return self._publisher.publish(queued)
                except QueueUnreachable as error:
                    if self._deferral is None:
                        raise
                    # SQS may have it all the same: then it comes twice, which the
                    # ledger absorbs.
                    log.warning(
                        "queue unreachable, job to the outbox", job=job.id, cause=_cause(error)
                    )
            if self._deferral is None:
                raise QueueUnreachable
            self._deferral.defer(queued, due=job.not_before or job.created)
        except (TransportError, OutboxError) as error:
            self._give_up(job, error, may_abandon=may_abandon)

    def _give_up(self, job: NewJob, error: SealwaxError, *, may_abandon: bool) -> None:
        """Answer that the job was not accepted, unless it was after all.

        Raises
        ------
        QueueUnavailable
        """
        try:
            # The message may have arrived all the same: abandoned, it will be
            # acknowledged without running.
            if may_abandon and self._ledger.abandon(job.id, acceptance=job.acceptance or ""):
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
