"""What AWS's errors mean."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from sealwax.aws.errors import error_code, is_denied, is_gone, is_retryable


def answered(code: str, status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Operation"
    )


@pytest.mark.parametrize(
    ("error", "retryable", "denied"),
    [
        # Signed requests, clocks and tokens: all of them pass.
        *(
            (answered(code), True, False)
            for code in (
                "ExpiredToken", "ExpiredTokenException", "IncompleteSignature",
                "IncompleteSignatureException", "InvalidClientTokenId", "InvalidSignatureException",
                "KMS.ThrottlingException", "KmsThrottled", "MissingAuthenticationTokenException",
                "RequestExpired", "SignatureDoesNotMatch", "ThrottlingException",
                "TransactionConflictException", "UnrecognizedClientException",
                "ProvisionedThroughputExceededException", "LimitExceededException",
                "a code that nobody has met",
            )
        ),
        (answered("AccessDenied", 403), True, True),
        (answered("AccessDeniedException"), True, True),
        (answered("ValidationException"), False, True),
        (answered("ResourceNotFoundException"), False, True),
        (answered("ReceiptHandleIsInvalid"), False, True),
        (answered("AWS.SimpleQueueService.NonExistentQueue"), False, True),
        (answered("InvalidParameterValue"), False, True),
        # A broken server says anything.
        (answered("ValidationException", 503), True, False),
        (EndpointConnectionError(endpoint_url="http://x"), True, False),
        (NoCredentialsError(), True, False),
        (ConnectionResetError(), True, False),
        (ValueError(), False, False),
    ],
    ids=lambda value: error_code(value) if isinstance(value, Exception) else None,
)  # fmt: skip
def test_only_what_is_known_to_be_final_is(error: Exception, retryable: bool, denied: bool) -> None:
    assert (is_retryable(error), is_denied(error)) == (retryable, denied)


@pytest.mark.parametrize(
    ("code", "other", "retryable"),
    [
        ("AWS.SimpleQueueService.NewSpelling", "ReceiptHandleIsInvalid", False),
        ("AWS.SimpleQueueService.NewSpelling", "QueueDoesNotExist", False),
        ("ReceiptHandleIsInvalid", "NewSpelling", False),
        ("KMS.ThrottlingException", "KmsThrottled", True),
        ("KMS.InvalidStateException", "KmsInvalidState", True),
        ("AWS.SimpleQueueService.NewSpelling", "NewSpelling", True),
    ],
)
def test_either_of_an_errors_two_names_tells_what_it_is(
    code: str, other: str, retryable: bool
) -> None:
    error = answered(code)
    error.response["Error"]["QueryErrorCode"] = other  # type: ignore[typeddict-unknown-key]

    assert is_retryable(error) is retryable
    assert is_denied(error) is not retryable
    assert is_gone(error) is (other == "QueueDoesNotExist")


def test_a_queue_or_table_that_is_not_there_is_told_from_one_that_refuses() -> None:
    assert is_gone(answered("QueueDoesNotExist"))
    assert is_gone(answered("ResourceNotFoundException"))
    assert not is_gone(answered("AccessDenied"))
    assert not is_gone(ConnectionResetError())
