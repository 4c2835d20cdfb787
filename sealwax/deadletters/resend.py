"""Sending a letter's message back to its queue, with the envelope it had.

Called by the replay engine. The body stays as it was but for one header, the
generation, by which older copies are told apart and refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sealwax.aws.sqs import QueueUrls
from sealwax.deadletters.errors import LettersUnreachable
from sealwax.deadletters.letter import Letter, LetterText
from sealwax.ledger import LedgerEntry
from sealwax.settings import Settings
from sealwax.transport.codec import Malformed, decode, encode
from sealwax.transport.dead_letters import ATTRIBUTE

__all__ = ["LetterResender", "ResendMessage", "message_of"]

#: Entries and bytes of one SendMessageBatch.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
BATCH, BATCH_BYTES = 10, 1_000_000

#: Tries of entries that SQS did not take.
TRIES = 5

#: Deepest nesting of a body that is sent again.
_DEPTH = 64


@dataclass(frozen=True)
class ResendMessage:
    """A message ready to be sent, and its letter."""

    letter: Letter
    queue: str
    fields: dict[str, Any]

    @property
    def bytes(self) -> int:
        """About how much of a batch it takes."""
        return len(self.fields["MessageBody"].encode()) + sum(
            len(name) + len(str(value)) for name, value in self.fields["MessageAttributes"].items()
        )


def message_of(
    letter: Letter, text: LetterText, entry: LedgerEntry, *, fair: bool
) -> ResendMessage | None:
    """Return the message of a replayed letter; None where its body is no task message."""
    try:
        body = decode(text.body.decode(), max_depth=_DEPTH)
    except (Malformed, UnicodeDecodeError):
        return None
    headers = body.get("headers")
    if not isinstance(headers, dict):
        return None
    headers["generation"] = entry.generation
    fields: dict[str, Any] = {
        "MessageBody": encode(body),
        "MessageAttributes": {
            name: value for name, value in text.attributes.items() if name != ATTRIBUTE
        },
    }
    if letter.queue.endswith(".fifo"):
        fields["MessageGroupId"] = letter.ordering or entry.id
        # Of its own for each generation: SQS would swallow a repeat of the first.
        fields["MessageDeduplicationId"] = f"{entry.id}-{entry.generation}"
    elif fair:
        fields["MessageGroupId"] = entry.tenant
    return ResendMessage(letter, letter.queue, fields)


class LetterResender:
    """Sends messages in batches, each until SQS has taken it.

    Parameters
    ----------
    sqs
        A boto3 SQS client with time-outs.
    """

    def __init__(
        self, settings: Settings, sqs: Any, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._lanes = {settings.queue_name(lane): pool for lane, pool in settings.lanes.items()}
        self._sqs = sqs
        self._sleep = sleep
        self._urls = QueueUrls(sqs)

    def serves(self, queue: str) -> bool:
        """Whether the queue is one of a lane's."""
        return queue in self._lanes

    def fair(self, queue: str) -> bool:
        """Whether the queue is a fair one."""
        return self._lanes[queue].fair

    def send(self, messages: Sequence[ResendMessage]) -> None:
        """Send all.

        Raises
        ------
        LettersUnreachable
            Some may have been sent: their letters are still open, and a repeat
            sends them again under the same generation.
        """
        for queue in dict.fromkeys(message.queue for message in messages):
            for batch in _batches([each for each in messages if each.queue == queue]):
                self._batch(queue, batch)

    def _batch(self, queue: str, batch: list[ResendMessage]) -> None:
        rest = {str(number): message for number, message in enumerate(batch)}
        for attempt in range(TRIES):
            answer = self._sqs.send_message_batch(
                QueueUrl=self._urls.get(queue),
                Entries=[{"Id": name, **message.fields} for name, message in rest.items()],
            )
            rest = {failed["Id"]: rest[failed["Id"]] for failed in answer.get("Failed", [])}
            if not rest:
                return
            self._sleep(0.1 * 2**attempt)
        raise LettersUnreachable(f"SQS does not take messages for {queue} now; try again later.")


def _batches(messages: list[ResendMessage]) -> list[list[ResendMessage]]:
    found: list[list[ResendMessage]] = []
    size = 0
    for message in messages:
        # A group's order holds only while one of its messages is under way.
        ordered = "MessageDeduplicationId" in message.fields
        if ordered or not found or len(found[-1]) == BATCH or size + message.bytes > BATCH_BYTES:
            found.append([])
            size = 0
        found[-1].append(message)
        size += message.bytes
    return found
