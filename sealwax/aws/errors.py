"""What AWS's errors mean: one table of codes, and the errors that stores have in common.

An error is final only where it is known to be: a wrong request, a right that the
role lacks, a thing that is not there. Everything else may pass, codes that nobody
has met yet included.
"""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from sealwax.errors import SealwaxError

__all__ = [
    "AWS_ERRORS",
    "DENIED",
    "FINAL",
    "GONE",
    "MISSING_OBJECT",
    "THROTTLED",
    "StoreDenied",
    "StoreUnreachable",
    "error_code",
    "http_status",
    "is_denied",
    "is_final",
    "is_gone",
    "is_retryable",
    "refuses_content",
]

#: What boto3 raises: no answer came, or AWS answered with an error.
AWS_ERRORS = (BotoCoreError, ClientError)

#: Rights that the role lacks. A role's policy changes under a running process, so that
#: whoever holds something worth waiting for tries again all the same.
#: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
DENIED = frozenset({"AccessDenied", "AccessDeniedException"})

#: A queue, table or bucket that does not exist, in all of SQS's spellings.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
GONE = frozenset(
    {
        "AWS.SimpleQueueService.NonExistentQueue",
        "AWS.SimpleQueueService.QueueDoesNotExist",
        "NoSuchBucket",
        "NonExistentQueue",
        "QueueDoesNotExist",
        "ResourceNotFoundException",
    }
)

#: An object that is not in its bucket.
MISSING_OBJECT = frozenset({"404", "NoSuchKey", "NotFound"})

#: Requests that no repeat makes right.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
FINAL = GONE | {
    "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
    "AWS.SimpleQueueService.BatchRequestTooLong",
    "AWS.SimpleQueueService.EmptyBatchRequest",
    "AWS.SimpleQueueService.InvalidBatchEntryId",
    "AWS.SimpleQueueService.MessageNotInflight",
    "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
    "AWS.SimpleQueueService.UnsupportedOperation",
    "BatchEntryIdsNotDistinct",
    "BatchRequestTooLong",
    "EmptyBatchRequest",
    "InvalidAction",
    "InvalidAttributeName",
    "InvalidAttributeValue",
    "InvalidBatchEntryId",
    "InvalidIdFormat",
    "InvalidMessageContents",
    "InvalidParameterCombination",
    "InvalidParameterValue",
    "InvalidParameterValueException",
    "ItemCollectionSizeLimitExceededException",
    "MessageNotInflight",
    "MissingParameter",
    "ReceiptHandleIsInvalid",
    "SerializationException",
    "TooManyEntriesInBatchRequest",
    "UnsupportedOperation",
    "ValidationError",
    "ValidationException",
}

#: Requests whose content is at fault: too large an item or a value that is none.
#: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
CONTENT = frozenset(
    {
        "ItemCollectionSizeLimitExceededException",
        "RequestEntityTooLarge",
        "RequestEntityTooLargeException",
        "SerializationException",
        "ValidationError",
        "ValidationException",
    }
)


#: Requests that came too fast.
#: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
THROTTLED = frozenset(
    {
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)


class StoreUnreachable(SealwaxError):
    """AWS does not serve a store now; try again later."""


class StoreDenied(SealwaxError):
    """AWS refused a store for good; check its name and the role's permissions."""


def error_code(error: BaseException) -> str:
    """Return AWS's error code of a botocore error, else the class's name."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", type(error).__name__))
    return type(error).__name__


def _codes(error: ClientError) -> set[str]:
    """Return an answer's codes: SQS names one error as its query protocol did, and anew."""
    said: dict[str, object] = {**error.response.get("Error", {})}
    return {str(said[name]) for name in ("Code", "QueryErrorCode") if said.get(name)}


def is_final(code: str) -> bool:
    """Whether no repeat makes right what was refused with this code."""
    return code in FINAL


def is_gone(error: BaseException) -> bool:
    """Whether the error says that the queue, table or bucket does not exist."""
    return isinstance(error, ClientError) and not GONE.isdisjoint(_codes(error))


def is_denied(error: BaseException) -> bool:
    """Whether the request is refused until somebody changes it, its target or a policy."""
    return (
        isinstance(error, ClientError)
        and http_status(error) < 500
        and not (FINAL | DENIED).isdisjoint(_codes(error))
    )


def refuses_content(error: BaseException) -> bool:
    """Whether AWS refused what was to be written, rather than who wrote it or when.

    Looks through a store's error to the one of botocore that it stands for.
    """
    cause = error if isinstance(error, ClientError) else error.__cause__
    return (
        isinstance(cause, ClientError)
        and http_status(cause) < 500
        and (error_code(cause) in CONTENT or http_status(cause) == 413)
    )


def is_retryable(error: BaseException) -> bool:
    """Whether the same call may succeed later.

    Denied and expired credentials count: a role's policy or token changes
    under a running process, and giving up would lose what it holds.
    """
    if isinstance(error, ClientError):
        return http_status(error) >= 500 or FINAL.isdisjoint(_codes(error))
    return isinstance(error, BotoCoreError | HTTPClientError | OSError)


def http_status(error: ClientError) -> int:
    """Return the HTTP status of an answer that was an error; 0: unknown."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
