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

        def list_objects_v2(self, **request: Any) -> dict[str, Any]:
            return {"Contents": [{"Key": request["Prefix"]}]}

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


class Refusing:
    """S3 that refuses to read, as it does of a missing object too; `listed` are the keys there."""

    def __init__(self, listed: list[str] | Exception) -> None:
        self.listed = listed
        self.asked: list[tuple[str, int]] = []

    def _refuse(self, **_: Any) -> dict[str, Any]:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject")

    get_object = copy_object = delete_object = put_object = _refuse

    def list_objects_v2(self, **request: Any) -> dict[str, Any]:
        self.asked.append((request["Prefix"], request["MaxKeys"]))
        if isinstance(self.listed, Exception):
            raise self.listed
        found = [key for key in sorted(self.listed) if key.startswith(request["Prefix"])]
        return {"Contents": [{"Key": key} for key in found[: request["MaxKeys"]]]}


def refused(client: Refusing) -> Bucket:
    return Bucket(lambda: client, "b", Unreachable, Denied)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("listed", "error"),
    [
        ([], ObjectMissing),
        (["live/1/ab.attributes", "live/1/ac"], ObjectMissing),
        (["live/1/ab", "live/1/ab.attributes"], Denied),
        (ClientError({"Error": {"Code": "AccessDenied"}}, "ListObjectsV2"), Denied),
        (EndpointConnectionError(endpoint_url="http://x"), Denied),
    ],
    ids=["nothing", "longer keys alone", "it is there", "may not look", "no answer"],
)
def test_a_refused_read_of_what_is_not_there_is_a_missing_object(
    listed: list[str] | Exception, error: type[Exception]
) -> None:
    client = Refusing(listed)
    with pytest.raises(error):
        refused(client).read("live/1/ab")
    with pytest.raises(error):
        refused(client).call(
            "copy_object", Key="dead/1/ab", CopySource={"Bucket": "b", "Key": "live/1/ab"}
        )
    assert client.asked == [("live/1/ab", 1)] * 2


@pytest.mark.parametrize("operation", ["put_object", "delete_object"])
def test_a_refused_change_is_refused_and_nothing_is_listed(operation: str) -> None:
    client = Refusing([])
    with pytest.raises(Denied):
        refused(client).call(operation, Key="live/1/ab")
    assert client.asked == []
