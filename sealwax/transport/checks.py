"""Checks before a worker consumes: each fails with a named error that says what to set.

Only what is certainly wrong stops the start. When SQS cannot be asked now, the
worker starts all the same: its receivers back off and go on.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from botocore.exceptions import ClientError

from sealwax.aws.errors import DENIED, error_code, is_gone
from sealwax.transport.engine import Engine
from sealwax.transport.errors import (
    DeadLetterQueueMissing,
    PermissionMissing,
    QueueMisconfigured,
    QueueNotFound,
)

__all__ = ["check_attributes", "check_queue"]

logger = logging.getLogger(__name__)

#: A receive count that a released or postponed message may well reach.
RECEIVES_LEAST = 100

#: A URL that this endpoint does not serve, such as one of another region.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html
_ELSEWHERE = frozenset({"InvalidAddress", "AWS.SimpleQueueService.InvalidAddress"})


def check_queue(engine: Engine, queue: str) -> None:
    """Check a queue that is about to be consumed.

    Raises
    ------
    QueueNotFound
        It does not exist.
    QueueMisconfigured, DeadLetterQueueMissing
        An attribute does not fit; see `check_attributes`.
    PermissionMissing
        The role may not look the queue up, delete its messages or change their visibility.
    """
    try:
        url = _url(engine, queue)
        attributes = _attributes(engine, queue, url)
        if attributes is not None:
            note_retention(engine, queue, attributes)
            check_attributes(
                queue,
                attributes,
                has_dead_letter_queue=_dead_letters(engine, queue),
                message_bytes=engine.options.message_bytes,
            )
        for action, call in (
            ("sqs:DeleteMessage", engine.quick.delete_message_batch),
            ("sqs:ChangeMessageVisibility", engine.quick.change_message_visibility_batch),
        ):
            _permitted(queue, action, call, url)
    except (QueueNotFound, QueueMisconfigured, PermissionMissing):
        raise
    except Exception as error:
        if is_gone(error) or error_code(error) in _ELSEWHERE:
            raise QueueNotFound(
                f"Queue {queue!r} does not exist at {engine.url(queue)} ({error_code(error)}); "
                "create it, or set its url, account and region in the transport options."
            ) from error
        logger.warning(
            "Queue %s could not be checked (%s); consuming from it all the same",
            queue,
            error_code(error),
        )


def _url(engine: Engine, queue: str) -> str:
    try:
        return engine.url(queue)
    except ClientError as error:
        if error_code(error) in DENIED:
            raise PermissionMissing(
                f"This role may not call sqs:GetQueueUrl on queue {queue!r}; allow it, or set the "
                "queue's url in the transport options, and see that it is of your account."
            ) from error
        raise


def _attributes(engine: Engine, queue: str, url: str) -> dict[str, Any] | None:
    """Return a queue's attributes; None: we may not see them, which alone stops nobody."""
    try:
        found = engine.quick.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    except ClientError as error:
        if error_code(error) not in DENIED:
            raise
        logger.warning(
            "This role may not call sqs:GetQueueAttributes on queue %s: neither its dead-letter "
            "queue nor its limits could be checked",
            queue,
        )
        return None
    attributes: dict[str, Any] = found.get("Attributes", {})
    return attributes


def note_retention(engine: Engine, queue: str, attributes: dict[str, Any]) -> None:
    """Remember how long a queue keeps its messages, and name the limit in the log."""
    seconds = int(attributes.get("MessageRetentionPeriod") or engine.retention(queue))
    engine.retentions[queue] = seconds
    logger.info(
        "Queue %s keeps a message for %g hours: what nobody receives for so long is gone. A later "
        "eta is kept by copies, as long as a worker receives",
        queue,
        seconds / 3600,
    )


def check_attributes(
    queue: str,
    attributes: dict[str, Any],
    *,
    has_dead_letter_queue: bool,
    message_bytes: int = 0,
) -> None:
    """Check a queue's attributes. Pure.

    Parameters
    ----------
    message_bytes
        Bytes of the largest message that we send.

    Raises
    ------
    DeadLetterQueueMissing
        The queue has no dead-letter queue.
    QueueMisconfigured
        Another attribute does not fit the transport.
    """
    policy = json.loads(attributes.get("RedrivePolicy") or "{}")
    if not has_dead_letter_queue and not policy.get("deadLetterTargetArn"):
        raise DeadLetterQueueMissing(
            f"Queue {queue!r} has no dead-letter queue; give it a RedrivePolicy with "
            "maxReceiveCount 1000, or set the transport option dead_letter_queue."
        )
    most = int(policy.get("maxReceiveCount") or 1_000)
    if most < RECEIVES_LEAST:
        logger.warning(
            "Queue %s has maxReceiveCount %d: retries and releases count as receives, so SQS "
            "itself may dead-letter jobs that are well; set it to 1000",
            queue,
            most,
        )

    largest = int(attributes.get("MaximumMessageSize") or message_bytes)
    if largest < message_bytes:
        logger.warning(
            "Queue %s takes messages of %d bytes, we send up to %d: SQS would refuse the larger "
            "ones; set its MaximumMessageSize, and that of its dead-letter queue, to 1048576",
            queue,
            largest,
            message_bytes,
        )


def _dead_letters(engine: Engine, queue: str) -> bool:
    try:
        engine.dead_letter_url(queue)
    except DeadLetterQueueMissing:
        return False
    return True


def _permitted(queue: str, action: str, call: Any, url: str) -> None:
    """Try an action on a message that does not exist: refused for the handle, or for the role."""
    entry = {"Id": "0", "ReceiptHandle": "none", "VisibilityTimeout": 0}
    if action == "sqs:DeleteMessage":
        del entry["VisibilityTimeout"]
    try:
        call(QueueUrl=url, Entries=[entry])
    except ClientError as error:
        if error_code(error) in DENIED:
            raise PermissionMissing(
                f"This role may not call {action} on queue {queue!r}; allow it, or each message "
                "would run again and again."
            ) from error
        raise
