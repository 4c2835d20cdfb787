"""The thread in which a worker opens letters that operators asked to see.

Started by `sealwax worker` in its main process. The worker decides alone: by
its own setting, by the shared keyring as it stands, by the letter's and the
message's signatures and by the ledger. What the API or its table says counts
for nothing, but in mode `console`. Its line stands in the audit log before
anything is opened; the plaintext leaves it only sealed to the operator's key or,
in mode `console`, to the API's. It is never logged, and no error ends the thread.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass

import structlog

from sealwax.control.audit_log import AuditDenied, AuditUnreachable
from sealwax.deadletters.errors import RevealRefused
from sealwax.deadletters.letter import letter_key
from sealwax.deadletters.reveal import REVEAL_MAX, SECONDS, Asked, Reveals
from sealwax.deadletters.reveal_limits import RevealLimits
from sealwax.deadletters.reveal_request import REASON_MAX, check_request
from sealwax.deadletters.service import Letters
from sealwax.envelope import (
    Context,
    EnvelopeError,
    Expected,
    PublicKey,
    Purpose,
    open_envelope,
    seal,
)
from sealwax.errors import SealwaxError
from sealwax.keys.public import SHARED, PublicKeyring
from sealwax.outbox.payloads import PayloadStoreError, is_reference
from sealwax.runtime import Runtime
from sealwax.worker.provenance import Own
from sealwax.worker.reveal_letter import letter_to_open

__all__ = ["RevealResponder"]

log = structlog.get_logger("sealwax.worker")

#: Seconds between two looks at what was asked.
EVERY = 2.0

#: Requests answered between two looks: each may cost a call to KMS, whoever asks.
AT_ONCE = 10

#: Who the API may say has asked: one of its tokens.
_ACTOR = re.compile(r"token:[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, kw_only=True)
class _Granted:
    """Whose request it is, for what, and whom the answer is sealed to."""

    letter: str
    actor: str
    reason: str
    recipient: PublicKey
    keyring: PublicKeyring


class RevealResponder:
    """Opens what was asked of its worker's lane: other lanes' envelopes are closed to it."""

    def __init__(self, runtime: Runtime, letters: Letters, reveals: Reveals) -> None:
        self._runtime = runtime
        self._letters = letters
        self._reveals = reveals
        self._limits = RevealLimits(runtime.control, clock=runtime.clock)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = False
        lane = runtime.lane
        self._queue = None if lane is None else runtime.settings.queue_name(lane)

    def start(self) -> None:
        """Begin; call it in the main process."""
        self._thread = threading.Thread(target=self._run, name="sealwax-revealing", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Open nothing more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            try:
                for _ in range(AT_ONCE):
                    if not self.once():
                        break
                self._failing = False
            except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on
                if not self._failing:  # once, not every two seconds
                    log.warning("nothing can be revealed now", error=type(error).__name__)
                self._failing = True

    def once(self) -> bool:
        """Answer one request; False where none waits."""
        asked = self._reveals.take(self._queue)
        if asked is None:
            return False
        granted: _Granted | None = None
        try:
            granted = self._granted(asked)
            sealed = self._revealed(asked, granted)
        except (RevealRefused, EnvelopeError, PayloadStoreError) as refused:
            self._refuse(asked, granted, refused.cause)
        except (AuditUnreachable, AuditDenied):
            # No line can be written of this either.
            self._reveals.answer(asked, cause="audit-unavailable")
        except SealwaxError as error:
            log.warning("letter not revealed", error=type(error).__name__)
            self._refuse(asked, granted, "unavailable")
        else:
            self._reveals.answer(asked, sealed=sealed)
            log.info("letter revealed", letter=granted.letter)
        return True

    # -- deciding --------------------------------------------------------------------

    def _granted(self, asked: Asked) -> _Granted:
        """Return whom a request is from, by this worker's own setting.

        Raises
        ------
        sealwax.deadletters.errors.RevealRefused
        sealwax.secrets.source.SecretError, sealwax.keys.public.KeyringInvalid
        sealwax.control.table.ControlUnreachable
            Nobody knows.
        """
        mode = self._runtime.settings.reveal_mode
        if mode == "operator-key":
            return self._signed(asked)
        if mode != "console":
            raise RevealRefused("reveal-off")
        if asked.statement is not None:
            raise RevealRefused("reveal-mode")
        reason = (asked.reason or "").strip()[:REASON_MAX]
        letter, actor = asked.letter or "", asked.actor or ""
        if letter_key(letter) is None or not _ACTOR.fullmatch(actor) or not reason:
            raise RevealRefused("request-malformed")
        keyring = self._runtime.keyring
        return _Granted(
            letter=letter,
            actor=actor,
            reason=reason,
            recipient=keyring.recipient("api"),
            keyring=keyring,
        )

    def _signed(self, asked: Asked) -> _Granted:
        if asked.statement is None:
            raise RevealRefused("request-unsigned")
        # Read for each request: whoever was removed a moment ago asks in vain.
        keyring = PublicKeyring.load(self._runtime.stores.source.get(SHARED))
        request, operator = check_request(
            asked.statement, request_id=asked.id, keyring=keyring, now=self._runtime.clock()
        )
        granted = _Granted(
            letter=request.letter,
            actor=f"operator:{operator.id}",
            reason=request.why,
            recipient=operator.seal,
            keyring=keyring,
        )
        if not self._limits.use(operator.id, request.nonce):
            raise RevealRefused("request-replayed")
        return granted

    def _refuse(self, asked: Asked, granted: _Granted | None, cause: str) -> None:
        """Answer why there is nothing to see, and leave a line, of so many in an hour."""
        log.warning("letter not revealed", cause=cause)
        letter = granted.letter if granted else asked.letter
        target = {"request": asked.id, "cause": cause}
        if letter is not None and letter_key(letter) is not None:
            target["letter"] = letter
        try:
            if self._limits.count("refused", self._runtime.settings.reveal.per_hour):
                self._letters.audit.record(
                    # Who asks is not known where nothing could be verified.
                    actor=granted.actor if granted else "unverified",
                    verb="reveal.refuse",
                    target=target,
                    reason=granted.reason if granted else None,
                )
        except SealwaxError as error:
            log.warning("refusal not in the audit log", error=type(error).__name__)
        self._reveals.answer(asked, cause=cause)

    # -- opening -----------------------------------------------------------------------

    def _revealed(self, asked: Asked, granted: _Granted) -> str:
        """Return what a letter says, sealed to whoever was granted it."""
        runtime = self._runtime
        own = letter_to_open(
            runtime,
            self._letters.archive,
            granted.letter,
            keyring=granted.keyring,
            queue=self._queue,
        )
        if not self._limits.count("opened", runtime.settings.reveal.per_hour):
            raise RevealRefused("too-many-an-hour")
        self._letters.audit.record(
            actor=granted.actor,
            verb="letter.reveal",
            target=granted.letter,
            count=1,
            reason=granted.reason,
        )
        return self._sealed(asked, granted, own)

    def _sealed(self, asked: Asked, granted: _Granted, own: Own) -> str:
        runtime, said = self._runtime, own.context
        envelope = own.argument
        if is_reference(envelope):
            envelope = runtime.payloads.fetch(said.job, envelope)
        expect = Expected(purpose=Purpose.JOB, task=said.task, job=said.job, tenant=said.tenant)
        keyring = runtime.keyring
        opened = open_envelope(envelope, keyring=keyring, expect=expect, now=0.0)
        now = int(runtime.clock())
        context = Context(
            purpose=Purpose.REVEAL,
            task=said.task,
            # Bound to this request: no other request's answer fits in its place.
            job=asked.id,
            tenant=said.tenant,
            contract=said.contract,
            issued_at=now,
            not_after=now + SECONDS,
        )
        sealed = seal(opened.plaintext, context, recipient=granted.recipient, signer=keyring.signer)
        if len(sealed) > REVEAL_MAX:
            raise RevealRefused("too-large")
        return sealed
