"""The duty that empties dead-letter queues into the archive.

A message is deleted only after its letter is kept. What SQS's own redrive
moved there although its job has not ended goes back to its queue, hourly at
most. One queue's trouble, or one message's, never holds up the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import structlog

from sealwax.aws.dynamodb import ConditionFailed, typed
from sealwax.aws.errors import AWS_ERRORS, error_code
from sealwax.aws.sqs import OutgoingMessage, QueueUrls, bare_attributes
from sealwax.deadletters.errors import LettersUnreachable
from sealwax.deadletters.letter import Letter, LetterText, read
from sealwax.deadletters.service import Letters
from sealwax.deadletters.table import key
from sealwax.errors import SealwaxError
from sealwax.ledger import JobState, Ledger
from sealwax.settings import Settings
from sealwax.steward.duty import Leader
from sealwax.telemetry.counters import Counters
from sealwax.transport.dead_letters import ATTRIBUTE

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

__all__ = ["DeadLetterCollector"]

log = structlog.get_logger("sealwax.steward")

#: Seconds that a received message stays out of sight: far longer than archiving takes.
HELD = 60

#: Seconds between two returns of one job's message to its queue.
RETURN_EVERY = 3_600

#: Seconds after which a turn begins no further receive.
TURN = 3.0

#: Receives under way at once while a queue gives full batches.
SIDE_BY_SIDE = 4

#: Seconds that a return is remembered.
REMEMBERED = 30 * 86_400


class DeadLetterCollector:
    """Collects dead letters; see `sealwax.steward.duty.Duty`.

    Parameters
    ----------
    sqs
        A boto3 SQS client with time-outs.
    """

    name = "letters-collection"
    every = 2.0

    def __init__(
        self,
        settings: Settings,
        sqs: SQSClient,
        letters: Letters,
        ledger: Ledger,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = Counters()
        self._settings = settings
        self._sqs = sqs
        self._letters = letters
        self._ledger = ledger
        self._clock = clock
        self._monotonic = monotonic
        self._urls = QueueUrls(sqs)
        self._tidied = 0.0

    def turn(self, lead: Leader) -> bool:
        """Empty every dead-letter queue for some seconds; True where more waits."""
        end = self._monotonic() + TURN
        troubles: list[Exception] = []
        more = False
        for lane in self._settings.lanes:
            try:
                more = self._lane(lane, lead, end) or more
            except (SealwaxError, *AWS_ERRORS) as error:
                self.counters.add(f"trouble.{type(error).__name__}")
                log.warning("dead letters not collected", lane=lane, error=error_code(error))
                troubles.append(error)
        if troubles and len(troubles) == len(self._settings.lanes):
            raise troubles[0]
        self._tidy(lead)
        return more and not troubles

    def _tidy(self, lead: Leader) -> None:
        """Drop old hours from the groups' trends, and groups long resolved, hourly."""
        now = self._monotonic()
        if now - self._tidied >= 3_600 and lead.held():
            self._tidied = now
            self._letters.groups.forget_hours()
            keep = self._settings.limits.letter_retention_seconds
            self._letters.groups.forget(before=self._clock() - keep)

    def _lane(self, lane: str, lead: Leader, end: float) -> bool:
        url = self._urls.get(self._settings.dead_letter_queue_name(lane))
        if self._batch(lane, url, lead) < 10:
            return False
        with ThreadPoolExecutor(SIDE_BY_SIDE, "sealwax-collection") as pool:
            full = pool.map(lambda _: self._while_full(lane, url, lead, end), range(SIDE_BY_SIDE))
            return any(list(full))

    def _while_full(self, lane: str, url: str, lead: Leader, end: float) -> bool:
        while self._monotonic() < end:
            if self._batch(lane, url, lead) < 10:
                return False
        return True

    def _batch(self, lane: str, url: str, lead: Leader) -> int:
        """Collect one batch; return how many messages it had."""
        if not lead.held():
            return 0
        answer = self._sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=HELD,
            WaitTimeSeconds=0 if len(self._settings.lanes) > 3 else 1,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        messages: list[Any] = answer.get("Messages", [])
        if not messages or not lead.held():
            return 0
        queue = self._settings.queue_name(lane)
        found: list[tuple[Letter, LetterText]] = []
        done: list[dict[str, Any]] = []
        for message in messages:
            letter, text = read(message, queue=queue, now=self._clock())
            if ATTRIBUTE in (message.get("MessageAttributes") or {}) or letter.job is None:
                found.append((letter, text))
                done.append(message)
            elif self._backstop(message, letter, lane, url):
                done.append(message)
            elif self._is_dead(letter):
                found.append((letter, text))
                done.append(message)
        done = self._archive(found, done)
        self._delete(url, done)
        return len(messages)

    def _archive(
        self, found: list[tuple[Letter, LetterText]], done: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Put letters; return the messages whose letters are kept."""
        if not found:
            return done
        try:
            new = self._letters.archive.put(found)
        except LettersUnreachable:
            raise
        except Exception as error:
            # One letter that cannot be kept must not hold up its batch mates.
            if len(found) == 1:
                self.counters.add("refused")
                log.exception("letter not archived", error=type(error).__name__)
                return [each for each in done if each["Body"].encode() != found[0][1].body]
            kept = done
            for each in found:
                kept = self._archive([each], kept)
            return kept
        self.counters.add("archived", new)
        log.info("letters archived", new=new, copies=len(found) - new)
        return done

    # -- what SQS itself moved -------------------------------------------------------

    def _is_dead(self, letter: Letter) -> bool:
        entry = self._ledger.get(letter.job or "")
        return entry is None or entry.state is JobState.DEAD

    def _backstop(self, message: dict[str, Any], letter: Letter, lane: str, url: str) -> bool:
        """Deal with a message that nobody gave a reason; True where it is done with."""
        entry = self._ledger.get(letter.job or "")
        if entry is None or entry.state is JobState.DEAD:
            return False
        if entry.final or letter.generation < entry.generation:
            self.counters.add("backstop.ended")
            return True
        now = self._clock()
        self.counters.add("backstop.open")
        wait = self._may_return(letter, now)
        if wait > 0:
            self._sqs.change_message_visibility(
                QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=wait
            )
            return False
        outgoing = OutgoingMessage(
            queue=self._settings.queue_name(lane),
            body=message["Body"],
            attributes=bare_attributes(message.get("MessageAttributes") or {}),
            group=(message.get("Attributes") or {}).get("MessageGroupId"),
            deduplication=f"{message['MessageId']}-{int(now)}",
        )
        self._sqs.send_message(QueueUrl=self._urls.get(outgoing.queue), **outgoing.fields())
        self.counters.add("backstop.returned")
        log.warning("message returned to its queue", job=letter.job, lane=lane)
        return True

    def _may_return(self, letter: Letter, now: float) -> int:
        """Count a return; answer with the seconds to wait where the last was too short ago."""
        place = key(letter.job or "", f"backstop.{letter.generation}")
        try:
            self._letters.table.update(
                {
                    "Update": {
                        "Key": place,
                        "UpdateExpression": "SET #last = :now, expires = :expires ADD #times :one",
                        "ConditionExpression": "attribute_not_exists(id) OR #last <= :before",
                        "ExpressionAttributeNames": {"#last": "last", "#times": "times"},
                        "ExpressionAttributeValues": typed(
                            {
                                ":now": now,
                                ":before": now - RETURN_EVERY,
                                ":expires": int(now + REMEMBERED),
                                ":one": 1,
                            }
                        ),
                    }
                }
            )
        except ConditionFailed:
            known = self._letters.table.get(place["id"]["S"], place["sort"]["S"]) or {}
            return max(1, int(known.get("last", now) + RETURN_EVERY - now) + 1)
        return 0

    # -- SQS -------------------------------------------------------------------------

    def _delete(self, url: str, messages: list[dict[str, Any]]) -> None:
        if not messages:
            return
        answer = self._sqs.delete_message_batch(
            QueueUrl=url,
            Entries=[
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                for number, message in enumerate(messages)
            ],
        )
        # It comes again, and collapses into its letter.
        self.counters.add("not-deleted", len(answer.get("Failed", [])))
