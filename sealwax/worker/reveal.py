"""The thread in which a worker opens letters that operators asked to see.

Started by `sealwax worker` in its main process. The plaintext leaves it only
sealed to the API's key; it is never logged, and no error ends the thread.
"""

from __future__ import annotations

import json
import threading
from typing import Any

import structlog

from sealwax.deadletters.letter import LetterText
from sealwax.deadletters.reveal import REVEAL_MAX, SECONDS, Asked, Reveals
from sealwax.deadletters.service import Letters
from sealwax.envelope import Context, EnvelopeError, Expected, Purpose, open_envelope, seal
from sealwax.errors import SealwaxError
from sealwax.ledger import is_job_id
from sealwax.outbox.payloads import PayloadStoreError, is_reference
from sealwax.runtime import Runtime
from sealwax.transport.codec import Malformed, decode, loads
from sealwax.transport.validation import check_message

__all__ = ["RevealResponder"]

log = structlog.get_logger("sealwax.worker")

#: Seconds between two looks at what was asked.
EVERY = 2.0

_DEPTH = 64


class _Refused(Exception):
    """There is nothing to reveal; the text is the cause, a kebab-case word."""


class RevealResponder:
    """Opens what was asked of its worker's lane: other lanes' envelopes are closed to it."""

    def __init__(self, runtime: Runtime, letters: Letters, reveals: Reveals) -> None:
        self._runtime = runtime
        self._letters = letters
        self._reveals = reveals
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
                while self.once():
                    pass
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
        try:
            sealed = self._sealed(asked)
        except _Refused as refused:
            self._reveals.answer(asked, cause=str(refused))
        except EnvelopeError as error:
            self._reveals.answer(asked, cause=error.cause)
        except PayloadStoreError as error:
            self._reveals.answer(asked, cause=error.cause)
        except SealwaxError as error:
            log.warning("letter not revealed", letter=asked.letter, error=type(error).__name__)
            self._reveals.answer(asked, cause="unavailable")
        else:
            self._reveals.answer(asked, sealed=sealed)
            log.info("letter revealed", letter=asked.letter)
        return True

    def _sealed(self, asked: Asked) -> str:
        job, task, envelope = _envelope(self._letters.archive.body(asked.letter))
        runtime = self._runtime
        if is_reference(envelope):
            envelope = runtime.payloads.fetch(job, envelope)
        expect = Expected(purpose=Purpose.JOB, task=task, job=job, tenant=None)
        try:
            opened = open_envelope(envelope, keyring=runtime.keyring, expect=expect, now=0.0)
        except EnvelopeError as error:
            if not (error.transient and runtime.refresh_for_unknown_key()):
                raise
            opened = open_envelope(envelope, keyring=runtime.keyring, expect=expect, now=0.0)
        now = int(runtime.clock())
        context = Context(
            purpose=Purpose.REVEAL,
            task=task,
            # Bound to this request: no other request's answer fits in its place.
            job=asked.id,
            tenant=opened.context.tenant,
            contract=opened.context.contract,
            issued_at=now,
            not_after=now + SECONDS,
        )
        keyring = runtime.keyring
        sealed = seal(
            opened.plaintext, context, recipient=keyring.recipient("api"), signer=keyring.signer
        )
        if len(sealed) > REVEAL_MAX:
            raise _Refused("too-large")
        return sealed


def _envelope(text: LetterText) -> tuple[str, str, str]:
    """Return job, task and the sealed argument of a letter's message."""
    try:
        message = decode(text.body.decode(), max_depth=_DEPTH)
        check_message(message, accept=("application/json",), max_depth=_DEPTH, inflated_bytes=0)
        args: Any = loads(message["body"], max_depth=_DEPTH)[0]
    except (Malformed, UnicodeDecodeError, json.JSONDecodeError):
        raise _Refused("malformed") from None
    job, task = message["headers"]["id"], message["headers"]["task"]
    if not is_job_id(job) or len(args) != 1 or not isinstance(args[0], str):
        raise _Refused("not-sealed")
    return job, task, args[0]
