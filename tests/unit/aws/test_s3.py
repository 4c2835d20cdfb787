"""One call to a bucket, and its errors."""

from __future__ import annotations

import io
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from sealwax.aws.s3 import Bucket, ObjectMissing
from sealwax.errors import SealwaxError


class Unreachable(SealwaxError):
    """Try again later."""


class Denied(SealwaxError):
    """No repeat mends it."""


def bucket(answer: Any) -> Bucket:
    class Client:
        def get_object(self, **request: Any) -> dict[str, Any]:
            assert request["Bucket"] == "b"
            if isinstance(answer, Exception):
                raise answer
            return {"Body": answer}

    return Bucket(Client, "b", Unreachable, Denied)


@pytest.mark.parametrize(
    ("code", "error"),
    [("NoSuchKey", ObjectMissing), ("404", ObjectMissing), ("AccessDenied", Denied),
     ("NoSuchBucket", Denied), ("SlowDown", Unreachable), ("new", Unreachable)],
)  # fmt: skip
def test_codes_become_the_stores_errors(code: str, error: type[Exception]) -> None:
    failed = ClientError({"Error": {"Code": code}}, "GetObject")
    with pytest.raises(error):
        bucket(failed).read("k")


def test_a_bucket_that_cannot_be_reached_is_asked_later() -> None:
    with pytest.raises(Unreachable):
        bucket(EndpointConnectionError(endpoint_url="http://x")).read("k")


def test_a_connection_that_breaks_in_the_middle_is_no_end() -> None:
    class Broken:
        def read(self, limit: int | None = None) -> bytes:
            raise ReadTimeoutError(endpoint_url="http://x")

    with pytest.raises(Unreachable):
        bucket(Broken()).read("k")


def test_no_more_is_read_than_was_asked_for() -> None:
    assert bucket(io.BytesIO(b"12345")).read("k", limit=3) == b"123"
    assert bucket(io.BytesIO(b"12345")).read("k") == b"12345"
