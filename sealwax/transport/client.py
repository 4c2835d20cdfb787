"""The SQS client and what its errors mean.

Only this module knows botocore's exception classes. Clients make one attempt
a call: retries, back-off and deadlines are the batcher's and the receivers',
which know what the call is for.
"""

from __future__ import annotations

import random
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
)

from sealwax.aws.clients import Aws, AwsTimeouts, error_code
from sealwax.transport.options import TransportOptions
from sealwax.transport.sqs_http import SqsHttpClient

__all__ = ["Clients", "backoff", "describe", "is_gone", "is_retryable"]

#: Codes of a queue that does not exist, old protocol and new.
GONE = frozenset(
    {
        "AWS.SimpleQueueService.NonExistentQueue",
        "QueueDoesNotExist",
        "AWS.SimpleQueueService.QueueDoesNotExist",
        "NonExistentQueue",
    }
)

#: 4xx codes that time mends.
TRANSIENT = frozenset(
    {
        "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "InternalError",
        "InternalFailure", "KmsThrottled", "OverLimit", "RequestExpired", "RequestThrottled",
        "RequestThrottledException", "ServiceUnavailable", "SignatureDoesNotMatch", "Throttling",
        "ThrottlingException", "TooManyRequestsException", "UnrecognizedClientException",
        "AccessDenied", "AccessDeniedException", "InvalidSecurity",
    }
)  # fmt: skip


class Clients:
    """The clients of one process: one for long polls, one for all else."""

    def __init__(self, options: TransportOptions) -> None:
        self.aws = Aws(
            AwsTimeouts.model_validate(
                {
                    "connect": options.connect_timeout,
                    "read": options.read_timeout,
                    "attempts": 1,
                }
            ),
            region=options.region,
        )
        #: For sends, deletes and visibility changes.
        self.quick = self._wire()
        #: For receives, which may take their waiting time on top.
        self.polling = self._wire(read_timeout=options.read_timeout + options.wait_time)

    def _wire(self, **overrides: Any) -> SqsHttpClient:
        # Parameters are built by us alone: validating them again costs a third of a call.
        client = self.aws.client("sqs", parameter_validation=False, **overrides)
        return SqsHttpClient(client, self.aws.credentials)


def is_gone(error: BaseException) -> bool:
    """Whether the error says that the queue does not exist."""
    return isinstance(error, ClientError) and error_code(error) in GONE


def is_retryable(error: BaseException) -> bool:
    """Whether the same call may succeed later.

    Denied and expired credentials count: a role's policy or token changes
    under a running worker, and giving up would lose what it holds.
    """
    if isinstance(error, ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
        return status >= 500 or status == 429 or error_code(error) in TRANSIENT
    return isinstance(error, BotoCoreError | HTTPClientError | NoCredentialsError | OSError)


def describe(error: BaseException) -> str:
    """Return a short code for counters and logs, never the error's text."""
    return error_code(error)


def backoff(attempt: int, *, base: float = 0.1, cap: float = 3.0) -> float:
    """Return the seconds to wait before the next attempt, with full jitter.

    Capped low, so that recovery of SQS is noticed within a few seconds.
    """
    limit: float = min(cap, base * 2 ** min(attempt, 10))
    return limit * (0.5 + random.random() / 2)  # noqa: S311 - jitter, not a secret
