"""The duty of the outbox: send what is due, then delete it.

A crash in between sends a message twice, which the ledger absorbs. One queue's
refusals never hold up the others; SQS away altogether fails the turn, and
everything stays where it is.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import structlog
from botocore.exceptions import BotoCoreError

from sealwax.aws.clients import error_code
from sealwax.aws.sqs import QueueUrls
from sealwax.outbox.store import SHARDS, Item, Outbox
from sealwax.steward.duty import Leader
from sealwax.transport.batching import BATCH_ENTRIES
from sealwax.transport.client import is_retryable
from sealwax.transport.errors import QueueUnreachable

__all__ = ["OutboxDuty", "batches"]

log = structlog.get_logger("sealwax.steward")

#: Items read in one turn.
ITEMS = 200

#: Seconds after which a turn ends, whatever is left.
TURN = 4.0

#: Largest batch, in bytes: SQS's megabyte, less attributes.
BATCH_BYTES = 1_000_000

#: Seconds that a refused item waits, doubled with each refusal, up to the last.
FIRST_WAIT, LONGEST_WAIT = 5.0, 3_600.0


class OutboxDuty:
    """Sends what is due.

    Parameters
    ----------
    sqs
        A boto3 SQS client with time-outs.
    clock
        Epoch seconds.
    """

    name = "outbox"
    every = 1.0

    def __init__(
        self,
        outbox: Outbox,
        sqs: Any,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._sqs = sqs
        self._clock = clock
        self._monotonic = monotonic
        self._urls = QueueUrls(sqs)

    def turn(self, lead: Leader) -> bool:
        """Send one page of due items.

        Raises
        ------
        QueueUnreachable
            SQS is away; nothing was changed for what it did not take.
        """
        end = self._monotonic() + TURN
        items = self._outbox.due(self._clock(), ITEMS)
        held_up: set[str] = set()
        for queue, batch in batches(items):
            if self._monotonic() > end or not lead.held():
                return True
            # A group's next must not overtake what was refused before it.
            ready = [item for item in batch if not item.group or item.group not in held_up]
            refused = self._send(queue, ready) if ready else []
            if queue.endswith(".fifo"):
                held_up |= {item.group for item in refused if item.group}
        # A shard may be full while the others are empty.
        return len(items) >= ITEMS // SHARDS

    def _send(self, queue: str, batch: list[Item]) -> list[Item]:
        """Send a batch and delete what SQS has; return what it refused."""
        try:
            answer = self._sqs.send_message_batch(
                QueueUrl=self._urls.get(queue),
                Entries=[_entry(number, item) for number, item in enumerate(batch)],
            )
        except Exception as error:
            self._urls.forget(queue)
            if isinstance(error, BotoCoreError) or _is_outage(error):
                raise QueueUnreachable from error
            log.warning("queue refused messages", queue=queue, error=error_code(error))
            self._put_off(batch, error_code(error))
            return batch
        sent = [batch[int(each["Id"])] for each in answer.get("Successful", [])]
        self._outbox.delete(*(item.id for item in sent))
        for item in sent:
            log.info("outbox item sent", job=item.job, task=item.task, lane=item.lane)
        refused = []
        for failed in answer.get("Failed", []):
            refused.append(batch[int(failed["Id"])])
            self._put_off(refused[-1:], str(failed.get("Code")))
        return refused

    def _put_off(self, items: Sequence[Item], code: str) -> None:
        for item in items:
            wait = min(FIRST_WAIT * 2.0 ** min(item.tries, 20), LONGEST_WAIT)
            self._outbox.release(item, due=self._clock() + wait)
            log.warning(
                "outbox item refused", job=item.job, task=item.task, code=code, tries=item.tries + 1
            )


def batches(items: Sequence[Item]) -> Iterator[tuple[str, list[Item]]]:
    """Yield queue and batch: what one call takes, in the order of the items. Pure.

    On a FIFO queue a batch has at most one message of a group: were one refused
    and its successor taken, the group's order would be lost.
    """
    waiting: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        waiting[item.queue].append(item)
    for queue, left in waiting.items():
        rest = left
        while rest:
            batch: list[Item] = []
            later: list[Item] = []
            groups: set[str] = set()
            size = 0
            for item in rest:
                length = len(item.body.encode())
                fits = len(batch) < BATCH_ENTRIES and (not batch or size + length <= BATCH_BYTES)
                if not fits or (queue.endswith(".fifo") and (item.group or item.id) in groups):
                    later.append(item)
                    groups.add(item.group or item.id)
                    continue
                batch.append(item)
                groups.add(item.group or item.id)
                size += length
            yield queue, batch
            rest = later


def _entry(number: int, item: Item) -> dict[str, Any]:
    entry: dict[str, Any] = {"Id": str(number), "MessageBody": item.body}
    if item.attributes:
        entry["MessageAttributes"] = item.attributes
    fifo = item.queue.endswith(".fifo")
    if fifo or item.group:
        entry["MessageGroupId"] = item.group or item.job or item.id
    if fifo:
        entry["MessageDeduplicationId"] = item.deduplication or item.id.replace("#", ".")
    return entry


def _is_outage(error: Exception) -> bool:
    """Whether no queue will take anything now, as far as one answer tells."""
    return is_retryable(error) and "Denied" not in error_code(error)
