"""One call to a bucket, its errors turned into those of the store that makes it.

Called by the store of payloads and the archive's bodies. It never retries: the
client's own attempts are bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from sealwax.aws.errors import DENIED, MISSING_OBJECT, error_code, is_denied
from sealwax.errors import SealwaxError

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

__all__ = ["Bucket", "ObjectMissing"]


class ObjectMissing(SealwaxError):
    """The bucket has no such object; it may have been deleted."""


@dataclass(frozen=True)
class Bucket:
    """A bucket, and which errors its store raises.

    Parameters
    ----------
    client
        Returns a boto3 S3 client with time-outs; called when a call is made.
    name
        The bucket's.
    unreachable, denied
        Raised where a later call may succeed, and where none will.
    """

    client: Callable[[], S3Client]
    name: str
    unreachable: type[SealwaxError]
    denied: type[SealwaxError]

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Make one call on the bucket.

        Raises
        ------
        ObjectMissing
            It is not there; where the role may not list the bucket, that cannot be known,
            and the refusal is raised.
        """
        try:
            answer: dict[str, Any] = getattr(self.client(), operation)(
                Bucket=self.name, **arguments
            )
        except ClientError as error:
            code = error_code(error)
            if code in MISSING_OBJECT or (code in DENIED and self._lacks(operation, arguments)):
                raise ObjectMissing from None
            kind = self.denied if is_denied(error) else self.unreachable
            raise kind(
                f"S3 does not serve bucket {self.name} ({code}); check that it exists and the "
                "role's permissions."
            ) from error
        except BotoCoreError as error:
            raise self.unreachable(
                f"S3 cannot be reached ({error_code(error)}); try again later."
            ) from error
        return answer

    def read(self, key: str, *, limit: int | None = None) -> bytes:
        """Return an object's bytes, at most `limit` of them.

        Raises
        ------
        ObjectMissing
        """
        answer = self.call("get_object", Key=key)
        try:
            data: bytes = answer["Body"].read(limit) if limit else answer["Body"].read()
        except BotoCoreError as error:  # the connection broke in the middle
            raise self.unreachable from error
        return data

    def _lacks(self, operation: str, arguments: dict[str, Any]) -> bool:
        """Whether the object that S3 refuses to read is not there, as far as the role may look.

        S3 says 403 of a missing object to whoever may not list the bucket, and a right
        to list that depends on `s3:prefix` need not count: a read names no prefix. A list
        of the very key does. https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
        """
        key = {"get_object": "Key", "copy_object": "CopySource"}.get(operation)
        if key is None:
            return False
        name = arguments[key] if key == "Key" else arguments[key]["Key"]
        try:
            # The key itself is the first of those that begin with it.
            found = self.client().list_objects_v2(Bucket=self.name, Prefix=name, MaxKeys=1)
        except (BotoCoreError, ClientError):
            return False
        return name not in [item["Key"] for item in found.get("Contents", [])]
