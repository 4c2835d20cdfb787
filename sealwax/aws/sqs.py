"""SQS for whoever uses a plain client: queue URLs, messages to be sent, and batches of them.

Called by the steward's duties, the replays and the operators' view of lanes. The
transport batches by itself, since entries reach it one by one and never stop; it
shares the limits and the sizes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

__all__ = [
    "BATCH_BYTES",
    "BATCH_ENTRIES",
    "OutgoingMessage",
    "QueueUrls",
    "bare_attributes",
    "message_size",
    "plan_batches",
    "queue_of_arn",
    "send_batch",
]

#: Most entries of one batch call.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-batch-api-actions.html
BATCH_ENTRIES = 10

#: Most bytes of all messages of one SendMessageBatch: 1 MiB.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
BATCH_BYTES = 1_048_576


def queue_of_arn(arn: str) -> tuple[str, str]:
    """Return account and name of the queue that an ARN names; both empty where it names none.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
    """
    parts = arn.split(":")
    known = len(parts) == 6 and parts[0] == "arn" and parts[2] == "sqs"
    return (parts[4], parts[5]) if known else ("", "")


class QueueUrls:
    """URLs of one client's queues by name, each asked for once.

    Parameters
    ----------
    sqs
        A boto3 SQS client with time-outs.
    """

    def __init__(self, sqs: SQSClient) -> None:
        self._sqs = sqs
        self._known: dict[str, str] = {}

    def get(self, name: str) -> str:
        """Return a queue's URL; botocore's errors where SQS cannot say."""
        if name not in self._known:
            self._known[name] = str(self._sqs.get_queue_url(QueueName=name)["QueueUrl"])
        return self._known[name]

    def forget(self, name: str) -> None:
        """Ask again next time."""
        self._known.pop(name, None)


@dataclass(frozen=True, kw_only=True)
class OutgoingMessage:
    """A message ready to be sent.

    Parameters
    ----------
    queue
        SQS name of the queue; FIFO queues end in `.fifo`.
    attributes
        As SendMessage takes them.
    group
        Message group; SQS demands one on FIFO queues.
    deduplication
        FIFO queues only.
    """

    queue: str
    body: str
    attributes: dict[str, Any] = field(default_factory=dict)
    group: str | None = None
    deduplication: str | None = None

    @property
    def fifo(self) -> bool:
        """Whether it goes to a FIFO queue."""
        return self.queue.endswith(".fifo")

    @property
    def bytes(self) -> int:
        """What it takes of a batch."""
        return message_size({"MessageBody": self.body, "MessageAttributes": self.attributes})

    def fields(self) -> dict[str, Any]:
        """Return the entry of SendMessageBatch, without its `Id`."""
        made: dict[str, Any] = {"MessageBody": self.body}
        if self.attributes:
            made["MessageAttributes"] = self.attributes
        if self.group is not None:
            made["MessageGroupId"] = self.group
        if self.fifo and self.deduplication is not None:
            made["MessageDeduplicationId"] = self.deduplication
        return made


def message_size(fields: dict[str, Any]) -> int:
    """Return the bytes that count: the body, and each attribute's name, type and value."""
    size = len(fields["MessageBody"].encode("utf-8", "surrogatepass"))
    for name, value in (fields.get("MessageAttributes") or {}).items():
        size += len(name.encode()) + len(str(value.get("DataType", "")).encode())
        text, data = value.get("StringValue"), value.get("BinaryValue")
        size += len(text.encode()) if text else len(data or b"")
    return size


def bare_attributes(attributes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return received attributes in the form in which they can be sent again."""
    return {
        name: {
            key: value[key] for key in ("DataType", "StringValue", "BinaryValue") if key in value
        }
        for name, value in attributes.items()
    }


def plan_batches(messages: Iterable[OutgoingMessage]) -> Iterator[list[OutgoingMessage]]:
    """Yield what one call takes, queue by queue, in the order of the messages. Pure.

    On a FIFO queue a batch has at most one message of a group: were one refused
    and its successor taken, the group's order would be lost.
    """
    waiting: dict[str, list[OutgoingMessage]] = defaultdict(list)
    for message in messages:
        waiting[message.queue].append(message)
    for queued in waiting.values():
        rest = queued
        while rest:
            batch: list[OutgoingMessage] = []
            later: list[OutgoingMessage] = []
            groups: set[str] = set()
            size = 0
            for message in rest:
                length = message.bytes
                fits = len(batch) < BATCH_ENTRIES and (not batch or size + length <= BATCH_BYTES)
                if not fits or (message.fifo and message.group in groups):
                    later.append(message)
                else:
                    batch.append(message)
                    size += length
                if message.group is not None:
                    groups.add(message.group)
            yield batch
            rest = later


def send_batch(
    sqs: SQSClient, url: str, batch: list[OutgoingMessage]
) -> tuple[list[OutgoingMessage], list[tuple[OutgoingMessage, str]]]:
    """Send one batch to one queue; return what SQS took, and what it refused with its code.

    Raises
    ------
    botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError
        The call as a whole failed; some may have been sent.
    """
    entries: list[Any] = [{"Id": str(n), **message.fields()} for n, message in enumerate(batch)]
    answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
    sent = [batch[int(each["Id"])] for each in answer.get("Successful", [])]
    refused = [(batch[int(each["Id"])], str(each.get("Code"))) for each in answer.get("Failed", [])]
    return sent, refused
