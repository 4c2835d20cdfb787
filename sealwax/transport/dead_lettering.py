"""Moving a message to its dead-letter queue: record, send, and only then delete.

Runs on background threads, for as long as it takes: a failed step is tried
again while the lease is kept. A letter that the dead-letter queue will never
take (too large, or an attribute it refuses) goes without its own attributes,
then to the `archive` option, or without even a reason, as SQS's own redrive
moves it. A message that cannot be dead-lettered stays in its queue.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sealwax.aws.backoff import jittered
from sealwax.aws.clock import AWS_CLOCK
from sealwax.aws.errors import GONE, error_code
from sealwax.aws.sqs import bare_attributes, message_size
from sealwax.outcomes import DeadLetter
from sealwax.transport.batching import BatchEntry, EntryResult
from sealwax.transport.dead_letters import (
    ATTRIBUTE,
    DeadLetterEvent,
    RefusedLetter,
    attribute_members,
    attribute_text,
)
from sealwax.transport.engine import Engine
from sealwax.transport.errors import DeadLetterQueueMissing
from sealwax.transport.in_flight import Delivery

__all__ = ["DeadLetterer", "letter_fields"]

logger = logging.getLogger(__name__)

#: SQS takes at most this many attributes on a message.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
MAX_ATTRIBUTES = 10

#: Longest pause between two attempts, in seconds.
PAUSE_MAX = 30.0


def letter_fields(
    delivery: Delivery,
    letter: DeadLetter,
    *,
    now: float,
    fifo: bool,
    bare: bool = False,
    naked: bool = False,
    sign: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return the dead letter's SendMessageBatch entry.

    Parameters
    ----------
    bare
        Without the message's attributes.
    naked
        Without any: a message as large as SQS lets it be has no room for a reason.
    sign
        Returns the members of the letter's attribute signed; None: they stay as they are.
    """
    fields: dict[str, Any] = {"MessageBody": delivery.body}
    if fifo:
        fields["MessageGroupId"] = delivery.group or delivery.message_id
        fields["MessageDeduplicationId"] = delivery.message_id
    elif delivery.group:
        fields["MessageGroupId"] = delivery.group  # so that it is fair after a redrive too
    if naked:
        return fields
    attributes = bare_attributes(delivery.attributes)
    attributes.pop(ATTRIBUTE, None)
    excess = len(attributes) if bare else len(attributes) - MAX_ATTRIBUTES + 1
    dropped = [attributes.popitem()[0] for _ in range(excess)]
    members: Mapping[str, Any] = attribute_members(
        letter,
        job=letter.job or delivery.job,
        task=delivery.task,
        queue=delivery.queue,
        at=round(now, 3),
        message_id=delivery.message_id,
        receive_count=delivery.receive_count,
        dropped_attributes=dropped or None,
    )
    if sign is not None:
        members = sign(dict(members))
    attributes[ATTRIBUTE] = {"DataType": "String", "StringValue": attribute_text(members)}
    fields["MessageAttributes"] = attributes
    return fields


@dataclass(slots=True)
class _PendingDeadLetter:
    """One delivery on its way to the dead-letter queue."""

    delivery: Delivery
    letter: DeadLetter
    recorded: bool
    attempt: int = 0
    bare: bool = False
    naked: bool = False
    #: SQS's code, once the queue has refused even the bare letter.
    refused: str = ""

    def event(self) -> dict[str, Any]:
        """Return the fields of a `DeadLetterEvent`."""
        return {
            "letter": self.letter,
            "job": self.delivery.job,
            "task": self.delivery.task,
            "queue": self.delivery.queue,
            "message_id": self.delivery.message_id,
            "receive_count": self.delivery.receive_count,
            "body": self.delivery.body,
            "body_bytes": len(self.delivery.body.encode("utf-8", "surrogatepass")),
        }


class DeadLetterer:
    """Sender of dead letters; each is tried until it is confirmed.

    Parameters
    ----------
    on_confirmed
        Deletes the original; called when the dead letter is confirmed.
    """

    def __init__(self, engine: Engine, *, on_confirmed: Callable[[Delivery], None]) -> None:
        self._engine = engine
        self._on_confirmed = on_confirmed
        self._lock = threading.Lock()
        self._open: dict[str, Delivery] = {}

    def send(self, delivery: Delivery, letter: DeadLetter, *, recorded: bool) -> None:
        """Dead-letter a settled delivery, in the background."""
        with self._lock:
            self._open[delivery.token] = delivery
        self._engine.background.run(self._attempt, _PendingDeadLetter(delivery, letter, recorded))

    def unfinished(self) -> list[Delivery]:
        """Take out, at shutdown, the deliveries without a confirmed letter; they are released."""
        with self._lock:
            found = list(self._open.values())
            self._open.clear()
            return found

    def _attempt(self, pending: _PendingDeadLetter) -> None:
        delivery = pending.delivery
        if delivery.token not in self._open:
            return
        try:
            if not pending.recorded:
                hook = self._engine.options.on_dead_letter
                if hook is not None:
                    verdict = hook(DeadLetterEvent(**pending.event()))
                    pending.letter = verdict or pending.letter
                pending.recorded = True
            url = self._engine.dead_letter_url(delivery.queue)
            fields = self._fields(pending, fifo=url.endswith(".fifo"))
        except Exception as error:
            if isinstance(error, DeadLetterQueueMissing):
                logger.error(  # noqa: TRY400 - the message says all
                    "%s Message %s stays in its queue.", error, delivery.message_id
                )
            else:
                logger.warning(
                    "Message %s cannot be dead-lettered yet (%s); trying again",
                    delivery.message_id,
                    error_code(error),
                    exc_info=not pending.recorded,
                )
            self._retry(pending)
            return
        if pending.refused and self._engine.options.archive is not None:
            self._archive(pending, fields)
            return
        self._engine.calls(url).letters.submit(
            BatchEntry(
                fields,
                done=lambda outcome: self._sent(pending, outcome),
                deadline=time.monotonic() + self._engine.options.send_timeout,
                size=message_size(fields),
                group=fields.get("MessageGroupId"),
            )
        )

    def _fields(self, pending: _PendingDeadLetter, *, fifo: bool) -> dict[str, Any]:
        hook = self._engine.options.sign_letter
        event = DeadLetterEvent(**pending.event()) if hook is not None else None
        return letter_fields(
            pending.delivery,
            pending.letter,
            now=AWS_CLOCK(),
            fifo=fifo,
            bare=pending.bare,
            naked=pending.naked,
            sign=None if hook is None else lambda members: hook(event, members),
        )

    def _sent(self, pending: _PendingDeadLetter, outcome: EntryResult) -> None:
        if outcome.ok:
            self._confirmed(pending)
            return
        logger.warning(
            "The dead-letter queue refused message %s (%s); trying again",
            pending.delivery.message_id,
            outcome.code,
        )
        if outcome.code in GONE:
            self._engine.forget_dead_letter_url(pending.delivery.queue)
        elif not outcome.retryable:
            self._refused(pending, outcome.code)
            return
        self._retry(pending)

    def _refused(self, pending: _PendingDeadLetter, code: str) -> None:
        """Go on with a letter that would be refused again and again."""
        if not pending.bare:
            pending.bare = True
            self._engine.background.run(self._attempt, pending)
            return
        if self._engine.options.archive is not None:
            pending.refused = code
            self._engine.background.run(self._attempt, pending)
            return
        if not pending.naked:
            pending.naked = True
            self._engine.background.run(self._attempt, pending)
            return
        # From the beginning: the queue may take more by then.
        pending.bare = pending.naked = False
        logger.error(
            "The dead-letter queue will not take message %s on %s (%s); it stays in its queue "
            "until the dead-letter queue allows it or the transport option `archive` is set",
            pending.delivery.message_id,
            pending.delivery.queue,
            code,
        )
        self._retry(pending)

    def _archive(self, pending: _PendingDeadLetter, fields: dict[str, Any]) -> None:
        archive = self._engine.options.archive
        if archive is None:
            return
        try:
            archive(
                RefusedLetter(
                    **pending.event(),
                    attributes=pending.delivery.attributes,
                    reason=fields["MessageAttributes"][ATTRIBUTE]["StringValue"],
                    group=pending.delivery.group,
                    code=pending.refused,
                )
            )
        except Exception as error:  # noqa: BLE001 - the application's; the message waits
            logger.warning(
                "Message %s could not be archived (%s); trying again",
                pending.delivery.message_id,
                error_code(error),
            )
            self._retry(pending)
            return
        self._engine.counters.add("archived")
        self._confirmed(pending)

    def _confirmed(self, pending: _PendingDeadLetter) -> None:
        delivery, letter = pending.delivery, pending.letter
        with self._lock:
            if self._open.pop(delivery.token, None) is None:
                return  # it went back to its queue meanwhile: a second letter may follow
        logger.warning(
            "Message %s on %s was dead-lettered: %s (%s)",
            delivery.message_id,
            delivery.queue,
            letter.reason,
            letter.error or "no detail",
        )
        self._on_confirmed(delivery)

    def _retry(self, pending: _PendingDeadLetter) -> None:
        pause = jittered(pending.attempt, base=1.0, cap=PAUSE_MAX)
        pending.attempt += 1
        self._engine.background.run(self._attempt, pending, delay=pause)
