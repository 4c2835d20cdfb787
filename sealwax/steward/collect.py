"""The duty that empties dead-letter queues into the archive.

A message is deleted only after its letter is kept. Nothing that it says is
believed but what a worker has signed; what SQS's own redrive moved there, which
nobody signs, is judged by its envelope and the ledger, as a worker would. The
job's own message of a job that has not ended goes back to its queue, hourly at
most. One queue's trouble, or one message's, never holds up the others.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from sealwax.aws.clock import AWS_CLOCK
from sealwax.aws.dynamodb import ConditionFailed, typed
from sealwax.aws.errors import AWS_ERRORS, error_code
from sealwax.aws.sqs import OutgoingMessage, QueueUrls, bare_attributes
from sealwax.deadletters.errors import LettersUnreachable
from sealwax.deadletters.letter import Letter, LetterText, read, read_own, read_stray
from sealwax.deadletters.service import Letters
from sealwax.deadletters.signature import CAUSES, SignedLetter, body_digest
from sealwax.deadletters.table import key
from sealwax.errors import SealwaxError
from sealwax.keys.provenance import Evidence, Own, Stray, disagreement, judge
from sealwax.ledger import JobState, Ledger, LedgerEntry
from sealwax.outbox.payloads import PayloadStoreUnreachable
from sealwax.outcomes import Reason
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

#: Seconds after which a message is looked at again whose signer the keys, as they were
#: last read, did not know; and by how much AWS's clock and ours may differ.
UNKNOWN_SIGNER = 10

#: Letters of one batch that may fail one by one for want of an answer, before the rest
#: is left for later: where a service is away, each takes as long as its time-outs.
TROUBLES = 3

Kept = tuple[Letter, LetterText]


class DeadLetterCollector:
    """Collects dead letters; see `sealwax.steward.duty.Duty`.

    Parameters
    ----------
    sqs
        A boto3 SQS client with time-outs.
    evidence
        Public keys and stored payloads: whose a message is.
    """

    name = "letters-collection"
    every = 2.0

    def __init__(
        self,
        settings: Settings,
        sqs: SQSClient,
        letters: Letters,
        ledger: Ledger,
        evidence: Evidence,
        *,
        clock: Callable[[], float] = AWS_CLOCK,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = Counters()
        self._settings = settings
        self._sqs = sqs
        self._letters = letters
        self._ledger = ledger
        self._evidence = evidence
        self._clock = clock
        self._monotonic = monotonic
        self._urls = QueueUrls(sqs)
        self._tidied = 0.0
        #: When the keys were certainly read since.
        self._keys_of = 0.0

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
        found: list[Kept] = []
        done: list[dict[str, Any]] = []
        troubles: list[Exception] = []
        for message in messages:
            try:
                kept, ended = self._sort(message, lane, url)
            except (SealwaxError, *AWS_ERRORS) as error:
                # The ledger, or a queue, did not answer for this one: it comes again.
                self.counters.add(f"trouble.{type(error).__name__}")
                log.warning("letter put off", lane=lane, error=error_code(error))
                troubles.append(error)
                if len(troubles) >= TROUBLES:
                    break
                continue
            except Exception as error:
                # Whatever one message does to us, its mates are collected.
                self.counters.add("refused")
                log.exception("letter not read", error=type(error).__name__)
                continue
            found += [kept] if kept else []
            done += [message] if kept or ended else []
        done = self._archive(found, done)
        self._delete(url, done)
        if troubles and not done:
            raise troubles[0]
        return len(messages) if not troubles else 0

    def _sort(self, message: dict[str, Any], lane: str, url: str) -> tuple[Kept | None, bool]:
        """Return a message's letter, if it is one, and whether it is done with without one."""
        said = ATTRIBUTE in (message.get("MessageAttributes") or {})
        try:
            found = self._read(message, lane) if said else self._judged(message, lane, url)
            if isinstance(found, bool):
                return None, found
            if found[0].cause == "unknown-signer" and self._may_be_new(message, url):
                return None, False
            if said and found[0].stray and found[0].cause in CAUSES:
                # What it says counts for nothing; what it is may be seen without that.
                found = self._dead_own(message, lane) or found
        except PayloadStoreUnreachable as error:
            # It comes again; its mates need not wait for S3.
            self.counters.add(f"trouble.{type(error).__name__}")
            return None, False
        return found, False

    def _dead_own(self, message: dict[str, Any], lane: str) -> Kept | None:
        """Return the letter of a dead job, if a message is its own; None where it is not."""
        queue = self._settings.queue_name(lane)
        own = judge(replace(self._evidence, refresh=self._refresh), message["Body"])
        entry = self._ledger.get(own.context.job) if isinstance(own, Own) else None
        if isinstance(own, Stray) or entry is None or self._stray(own, entry, queue) is not None:
            return None
        if own.generation != entry.generation or entry.state is not JobState.DEAD:
            return None
        return self._backstop(message, own, entry, queue)

    def _read(self, message: dict[str, Any], lane: str) -> Kept:
        queue = self._settings.queue_name(lane)
        kept = read(
            message, queue=queue, lane=lane, now=self._clock(), verifier=self._evidence.keyring()
        )
        if kept[0].cause != "unknown-signer" or not self._refresh():
            return kept
        return read(
            message, queue=queue, lane=lane, now=self._clock(), verifier=self._evidence.keyring()
        )

    def _refresh(self) -> bool:
        """Read the keys again, seldom; whether that was done now."""
        asked = self._clock()
        done = self._evidence.refresh()
        if done:
            self._keys_of = asked
        return done

    def _may_be_new(self, message: dict[str, Any], url: str) -> bool:
        """Whether the keys may be older than the signature; then the message waits a little.

        A key is published before anybody signs with it.
        """
        sent = int((message.get("Attributes") or {}).get("SentTimestamp", 0)) / 1_000
        if self._keys_of >= sent + UNKNOWN_SIGNER / 2:
            return False
        self.counters.add("unknown-signer")
        self._sqs.change_message_visibility(
            QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=UNKNOWN_SIGNER
        )
        return True

    def _archive(self, found: list[Kept], done: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Put letters; return the messages whose letters are kept."""
        if not found:
            return done
        try:
            new = self._letters.archive.put(found)
        except Exception as error:
            # One letter that cannot be kept, or whose body S3 does not take now, must
            # not hold up its batch mates.
            if len(found) > 1:
                return self._archive_each(found, done, error)
            if isinstance(error, LettersUnreachable):
                raise
            self.counters.add("refused")
            log.exception("letter not archived", error=type(error).__name__)
            return _without(done, found[0])
        self.counters.add("archived", new)
        log.info("letters archived", new=new, copies=len(found) - new)
        return done

    def _archive_each(
        self, found: list[Kept], done: list[dict[str, Any]], error: Exception
    ) -> list[dict[str, Any]]:
        """Put letters one by one; return the messages whose letters are kept."""
        troubles = 0
        for each in found:
            if troubles >= TROUBLES:
                # Not this letter's trouble: the archive is away.
                done = _without(done, each)
                continue
            try:
                done = self._archive([each], done)
            except LettersUnreachable as trouble:
                troubles += 1
                error = trouble
                self.counters.add(f"trouble.{type(trouble).__name__}")
                log.warning("letter put off", error=type(trouble).__name__)
                done = _without(done, each)
        if troubles and not done:
            raise error
        return done

    # -- what SQS itself moved -------------------------------------------------------

    def _judged(self, message: dict[str, Any], lane: str, url: str) -> Kept | bool:
        """Judge a message that nobody gave a reason.

        Returns its letter; or whether it is done with, where there is none.

        Raises
        ------
        PayloadStoreUnreachable
            Nobody knows yet.
        """
        queue = self._settings.queue_name(lane)
        own = judge(replace(self._evidence, refresh=self._refresh), message["Body"])
        entry = self._ledger.get(own.context.job) if isinstance(own, Own) else None
        why = self._stray(own, entry, queue)
        if isinstance(own, Stray) or entry is None or why is not None:
            return read_stray(message, queue=queue, now=self._clock(), cause=why or "unsigned")
        if own.generation == entry.generation and entry.state is JobState.DEAD:
            return self._backstop(message, own, entry, queue)
        if entry.final or own.generation < entry.generation:
            self.counters.add("backstop.ended")
            return True
        return self._return(message, entry, lane, url)

    def _stray(self, own: Own | Stray, entry: LedgerEntry | None, queue: str) -> str | None:
        """Return why a message is nobody's; None where it is its job's own."""
        if isinstance(own, Stray):
            return own.cause
        if entry is None:
            return "no-ledger-entry"
        stray = disagreement(entry, own, queue=queue, settings=self._settings)
        if stray is not None:
            return stray.cause
        return "generation" if own.generation > entry.generation else None

    def _backstop(self, message: dict[str, Any], own: Own, entry: LedgerEntry, queue: str) -> Kept:
        """Return the letter of a dead job whose message SQS itself moved."""
        now = self._clock()
        reason = Reason.read(entry.reason)
        signed = SignedLetter(
            # Why it died the ledger knows, whatever moved its message.
            reason=reason if reason is not None and reason.verified else Reason.BACKSTOP,
            cause=entry.cause,
            error=entry.error,
            own=True,
            generation=entry.generation,
            queue=queue,
            body=body_digest(message["Body"].encode("utf-8", "surrogatepass")),
            at=now,
            attempts=entry.attempts,
            signer="",
            job=entry.id,
            task=own.context.task,
        )
        return read_own(message, queue=queue, now=now, signed=signed)

    def _return(self, message: dict[str, Any], entry: LedgerEntry, lane: str, url: str) -> bool:
        """Send a living job's own message back to its queue; False where it has to wait."""
        now = self._clock()
        self.counters.add("backstop.open")
        wait = self._may_return(entry, now)
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
        log.warning("message returned to its queue", job=entry.id, lane=lane)
        return True

    def _may_return(self, entry: LedgerEntry, now: float) -> int:
        """Count a return; answer with the seconds to wait where the last was too short ago."""
        place = key(entry.id, f"backstop.{entry.generation}")
        by = secrets.token_hex(8)
        try:
            self._letters.table.update(
                {
                    "Update": {
                        "Key": place,
                        "UpdateExpression": "SET #last = :now, expires = :expires, "
                        "#by = :by ADD #times :one",
                        "ConditionExpression": "attribute_not_exists(id) OR #last <= :before",
                        "ExpressionAttributeNames": {
                            "#last": "last",
                            "#times": "times",
                            "#by": "by",
                        },
                        "ExpressionAttributeValues": typed(
                            {
                                ":now": now,
                                ":before": now - RETURN_EVERY,
                                ":expires": int(now + REMEMBERED),
                                ":one": 1,
                                ":by": by,
                            }
                        ),
                    }
                }
            )
        except ConditionFailed:
            known = self._letters.table.get(place["id"]["S"], place["sort"]["S"]) or {}
            if known.get("by") == by:
                # Ours, whose answer was lost: the first try was counted.
                return 0
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


def _without(messages: list[dict[str, Any]], kept: Kept) -> list[dict[str, Any]]:
    """Return the messages but for that of a letter."""
    body = kept[1].body
    return [each for each in messages if each["Body"].encode("utf-8", "surrogatepass") != body]
