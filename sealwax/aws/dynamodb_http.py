"""DynamoDB's calls on items, by the direct way; whatever goes wrong is boto3's.

The first try of a call is direct, and most calls have one only. Where it meets
what boto3 would try again (no answer, half an answer, throttling, 5xx), the
remaining tries are a boto3 client's, with its delays. So a call has as many
tries as `aws.attempts` says, and the errors are boto3's.
"""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from sealwax.aws.clock import AWS_CLOCK, AwsClock
from sealwax.aws.direct_calls import DirectCalls, NotDirect, WayTaken
from sealwax.aws.errors import THROTTLED, error_code, http_status
from sealwax.aws.rate import AdaptiveRate

__all__ = ["OPERATIONS", "DynamoDbHttpClient"]

#: The client's methods that go directly, and AWS's names for them.
OPERATIONS: Mapping[str, str] = {
    "batch_get_item": "BatchGetItem",
    "batch_write_item": "BatchWriteItem",
    "delete_item": "DeleteItem",
    "get_item": "GetItem",
    "put_item": "PutItem",
    "query": "Query",
    "transact_get_items": "TransactGetItems",
    "transact_write_items": "TransactWriteItems",
    "update_item": "UpdateItem",
}

#: What boto3's standard mode tries again, besides throttling and these statuses.
#: https://docs.aws.amazon.com/boto3/latest/guide/retries.html#standard-retry-mode
_PASSING = frozenset(
    {"RequestTimeout", "RequestTimeoutException", "TransactionInProgressException"}
)
_PASSING_STATUS = frozenset({500, 502, 503, 504})

#: Seconds before the second try at most, as in boto3's standard mode.
FIRST_DELAY = 1.0


class DynamoDbHttpClient:
    """A boto3 DynamoDB client whose calls on items are cheap.

    Parameters
    ----------
    client
        Makes the first call, and all but those on items.
    credentials
        Returns botocore's credentials of the client's session, or None.
    others
        Returns the client of a call's tries after the first; None: there are no others.
    rate
        Hears of each answer, and has the client's `before-send`; None: nothing adapts.
    """

    def __init__(
        self,
        client: Any,
        credentials: Callable[[], Any],
        *,
        others: Callable[[], Any] | None,
        rate: AdaptiveRate | None = None,
        pause: Callable[[float], None] = time.sleep,
        clock: AwsClock = AWS_CLOCK,
    ) -> None:
        self._client = client
        self._calls = DirectCalls(client, credentials, clock)
        self._others = others
        self._rate = rate
        self._pause = pause
        for name, operation in OPERATIONS.items():
            setattr(self, name, partial(self._call, name, operation))

    def __getattr__(self, name: str) -> Any:
        """Return the client's attribute."""
        return getattr(self._client, name)

    @property
    def direct(self) -> bool:
        """Whether calls go directly, not by boto3."""
        return self._calls.ready

    @property
    def taken(self) -> WayTaken:
        """By which way calls go now."""
        return self._calls.taken

    def _call(self, name: str, operation: str, /, **parameters: Any) -> dict[str, Any]:
        try:
            answer = self._calls.send(operation, parameters)
        except NotDirect:
            return getattr(self._client, name)(**parameters)  # type: ignore[no-any-return]
        except ClientError as error:
            self._heard(throttled=error_code(error) in THROTTLED)
            if self._others is None or not _may_pass(error):
                raise
        except (HTTPClientError, BotoConnectionError):
            if self._others is None:
                raise
        else:
            self._heard(throttled=False)
            return _with_bytes(answer)  # type: ignore[no-any-return]
        self._pause(random.uniform(0, FIRST_DELAY))  # noqa: S311 - no secret
        return getattr(self._others(), name)(**parameters)  # type: ignore[no-any-return]

    def _heard(self, *, throttled: bool) -> None:
        if self._rate is not None:
            self._rate.answered(throttled=throttled)


def _may_pass(error: ClientError) -> bool:
    code = error_code(error)
    return code in THROTTLED or code in _PASSING or http_status(error) in _PASSING_STATUS


def _with_bytes(value: Any) -> Any:
    """Return an answer with its binary values decoded: `{"B": "…"}` stands nowhere else.

    An attribute that is called `B` has a mapping for its value, not text.
    """
    if isinstance(value, dict):
        if len(value) == 1:
            ((kind, inner),) = value.items()
            if kind == "B" and isinstance(inner, str):
                return {"B": base64.b64decode(inner)}
            if kind == "BS" and isinstance(inner, list):
                return {"BS": [base64.b64decode(each) for each in inner]}
            if isinstance(inner, str):
                return value
        return {name: _with_bytes(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_bytes(each) for each in value]
    return value
