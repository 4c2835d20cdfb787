"""Sending a letter's message back to its queue, with the envelope it had.

Called by the replay engine. The body stays as it was but for one header, the
generation, by which older copies are told apart and refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sealwax.aws.backoff import backoff
from sealwax.aws.sqs import OutgoingMessage, QueueUrls, plan_batches, send_batch
from sealwax.deadletters.errors import LettersUnreachable
from sealwax.deadletters.letter import Letter, LetterText
from sealwax.ledger import LedgerEntry
from sealwax.settings import Settings
from sealwax.transport.codec import Malformed, decode, encode
from sealwax.transport.dead_letters import ATTRIBUTE

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

__all__ = ["LetterResender", "message_of"]

#: Tries of entries that SQS did not take.
TRIES = 5


def message_of(
    letter: Letter, text: LetterText, entry: LedgerEntry, *, fair_group: str | None
) -> OutgoingMessage | None:
    """Return the message of a replayed letter; None where its body is no task message.

    Parameters
    ----------
    fair_group
        Group of the tenant on a fair queue, as its first sends had it; None elsewhere.
    """
    try:
        body = decode(text.body.decode())
    except (Malformed, UnicodeDecodeError):
        return None
    headers = body.get("headers")
    if not isinstance(headers, dict):
        return None
    headers["generation"] = entry.generation
    fifo = letter.queue.endswith(".fifo")
    return OutgoingMessage(
        queue=letter.queue,
        body=encode(body),
        attributes={name: value for name, value in text.attributes.items() if name != ATTRIBUTE},
        group=(letter.ordering or entry.id) if fifo else fair_group,
        # Of its own for each generation: SQS would swallow a repeat of the first.
        deduplication=f"{entry.id}-{entry.generation}",
    )


class LetterResender:
    """Sends messages in batches, each until SQS has taken it.

    Parameters
    ----------
    sqs
        A boto3 SQS client with time-outs.
    fair_group
        Returns a tenant's message group on fair queues: the keyed hash that the
        first sends use, so that a replay waits among its tenant's other messages
        and SQS never shows what the ledger calls the tenant.
    """

    def __init__(
        self,
        settings: Settings,
        sqs: SQSClient,
        *,
        fair_group: Callable[[str], str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._lanes = {settings.queue_name(lane): pool for lane, pool in settings.lanes.items()}
        self._sqs = sqs
        self._fair_group = fair_group
        self._sleep = sleep
        self._urls = QueueUrls(sqs)

    def serves(self, queue: str) -> bool:
        """Whether the queue is one of a lane's."""
        return queue in self._lanes

    def message(
        self, letter: Letter, text: LetterText, entry: LedgerEntry
    ) -> OutgoingMessage | None:
        """Return a letter's message for its queue; None where its body is no task message."""
        fair = self._lanes[letter.queue].fair
        group = self._fair_group(entry.tenant) if fair else None
        return message_of(letter, text, entry, fair_group=group)

    def send(self, messages: Sequence[OutgoingMessage]) -> None:
        """Send all.

        Raises
        ------
        LettersUnreachable
            Some may have been sent: their letters are still open, and a repeat
            sends them again under the same generation.
        """
        for batch in plan_batches(messages):
            queue, rest = batch[0].queue, batch
            for attempt in range(TRIES):
                _, refused = send_batch(self._sqs, self._urls.get(queue), rest)
                rest = [message for message, _ in refused]
                if not rest:
                    break
                self._sleep(backoff(attempt, base=0.1, cap=5.0))
            else:
                raise LettersUnreachable(
                    f"SQS does not take messages for {queue} now; try again later."
                )
