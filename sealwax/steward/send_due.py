"""The duty of the outbox: send what is due, then delete it.

Each shard of the outbox is a duty under a leader lease of its own, so that several
stewards drain it side by side. Two that believe that they lead the same shard send
twice what both have read, and spoil nothing. A crash in between sends a message
twice, which the ledger absorbs. One queue's refusals, throttling or silence never
hold up the others; SQS away altogether fails the turn, and everything stays where
it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from sealwax.aws.backoff import backoff
from sealwax.aws.clock import AWS_CLOCK
from sealwax.aws.errors import error_code, is_retryable
from sealwax.aws.sqs import OutgoingMessage, QueueUrls, plan_batches, send_batch
from sealwax.outbox.store import Item, Outbox
from sealwax.steward.duty import Leader
from sealwax.transport.errors import QueueUnreachable

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

__all__ = ["OutboxDuty", "message_of"]

log = structlog.get_logger("sealwax.steward")

#: Items read in one turn.
ITEMS = 200

#: Sent items that are deleted in one call: BatchWriteItem takes 25, two messages' batches
#: are 20. So many are sent again after a crash, and no more.
DELETED = 16

#: Seconds after which a turn ends, whatever is left.
TURN = 4.0

#: Seconds that a refused item waits, doubled with each refusal, up to the last.
FIRST_WAIT, LONGEST_WAIT = 5.0, 3_600.0

#: The same where its queue takes nothing now: it may again in a moment.
LONGEST_TROUBLE = 60.0

#: Seconds between items of one queue that are put off together, so that they keep their order.
APART = 0.001


class OutboxDuty:
    """Sends what is due of one shard.

    Parameters
    ----------
    shard
        Of the outbox's index.
    sqs
        A boto3 SQS client with time-outs.
    clock
        Epoch seconds.
    """

    every = 1.0

    def __init__(
        self,
        outbox: Outbox,
        sqs: SQSClient,
        *,
        shard: int,
        clock: Callable[[], float] = AWS_CLOCK,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = f"outbox.{shard}"
        self._shard = shard
        self._outbox = outbox
        self._sqs = sqs
        self._clock = clock
        self._monotonic = monotonic
        self._urls = QueueUrls(sqs)
        #: Queues that took nothing the last time: their turn comes last.
        self._troubled: frozenset[str] = frozenset()
        #: Ids that SQS has and that are still to be deleted.
        self._sent: list[str] = []

    def turn(self, lead: Leader) -> bool:
        """Send one page of due items.

        Raises
        ------
        QueueUnreachable
            No queue took anything. What is on a page that was not full has not changed.
        """
        try:
            return self._turn(lead)
        finally:
            self._delete()

    def _turn(self, lead: Leader) -> bool:
        end = self._monotonic() + TURN
        items, full = self._outbox.due_of(self._shard, self._clock(), ITEMS)
        held_up: set[str | None] = set()
        waiting = [(message_of(item), item) for item in items]
        # By identity: two messages may be equal.
        item_of = {id(message): item for message, item in waiting}
        batches = list(plan_batches(message for message, _ in waiting))
        batches.sort(key=lambda batch: batch[0].queue in self._troubled)
        troubles: dict[str, QueueUnreachable] = {}
        asked: set[str] = set()
        more = False
        for batch in batches:
            queue = batch[0].queue
            if queue in troubles:
                continue
            if self._monotonic() > end or not lead.held():
                more = True
                break
            # A group's next must not overtake what was refused before it.
            ready = [message for message in batch if message.group not in held_up]
            asked.add(queue)
            try:
                refused = self._send(ready, item_of) if ready else []
            except QueueUnreachable as error:
                troubles[queue] = error
            else:
                held_up |= {each.group for each in refused if each.fifo and each.group}
        self._troubled = frozenset(troubles)
        for queue, trouble in troubles.items():
            code = error_code(trouble.__cause__ or trouble)
            log.warning("queue takes nothing", queue=queue, error=code)
            if full and lead.held():
                # Other queues' items may stand behind these.
                those = [item for item in items if item.queue == queue]
                self._put_off(those, code, longest=LONGEST_TROUBLE)
        if troubles and asked == set(troubles):
            raise next(iter(troubles.values()))
        return more or full

    def _send(
        self, batch: list[OutgoingMessage], item_of: dict[int, Item]
    ) -> list[OutgoingMessage]:
        """Send a batch; return what SQS refused of it."""
        queue = batch[0].queue
        try:
            sent, refused = send_batch(self._sqs, self._urls.get(queue), batch)
        except Exception as error:
            self._urls.forget(queue)
            if _is_outage(error):
                raise QueueUnreachable from error
            log.warning("queue refused messages", queue=queue, error=error_code(error))
            self._put_off([item_of[id(message)] for message in batch], error_code(error))
            return batch
        done = [item_of[id(message)] for message in sent]
        self._sent += [item.id for item in done]
        if len(self._sent) >= DELETED:
            self._delete()
        for item in done:
            log.info("outbox item sent", job=item.job, task=item.task, lane=item.lane)
        for message, code in refused:
            self._put_off([item_of[id(message)]], code)
        return [message for message, _ in refused]

    def _delete(self) -> None:
        # What cannot be deleted is read, and sent, again.
        sent, self._sent = self._sent, []
        if sent:
            self._outbox.delete(*sent)

    def _put_off(self, items: Sequence[Item], code: str, *, longest: float = LONGEST_WAIT) -> None:
        for number, item in enumerate(items):
            wait = backoff(item.tries, base=FIRST_WAIT, cap=longest)
            self._outbox.release(item, due=self._clock() + wait + APART * number)
            log.warning(
                "outbox item refused", job=item.job, task=item.task, code=code, tries=item.tries + 1
            )


def message_of(item: Item) -> OutgoingMessage:
    """Return an item's message."""
    fifo = item.queue.endswith(".fifo")
    return OutgoingMessage(
        queue=item.queue,
        body=item.body,
        attributes=item.attributes,
        group=(item.group or item.job or item.id) if fifo else item.group,
        deduplication=item.deduplication or item.id.replace("#", "."),
    )


def _is_outage(error: Exception) -> bool:
    """Whether no queue will take anything now, as far as one answer tells."""
    return is_retryable(error) and "Denied" not in error_code(error)
