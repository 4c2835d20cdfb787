"""Claim checks: envelopes that do not fit into a message wait in S3.

The message then carries a reference with the envelope's digest. The object's
key follows from the job's id: a reference that was moved to another job finds
nothing. Objects of live and dead jobs have no expiry; success deletes them.
The API puts, workers fetch, bury and delete.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, ClassVar

from sealwax.aws.errors import StoreUnreachable
from sealwax.aws.s3 import Bucket, ObjectMissing
from sealwax.errors import SealwaxError

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

__all__ = [
    "PayloadAltered",
    "PayloadMissing",
    "PayloadStore",
    "PayloadStoreError",
    "PayloadStoreUnreachable",
    "is_reference",
]

#: Prefixes: jobs that may still run, and dead ones.
LIVE, DEAD = "live", "dead"

#: Largest object that is fetched, in bytes: 32 MiB sealed, in base64, and some.
MAX_BYTES = 48 * 1024 * 1024

_REFERENCE = re.compile(r"swxc1\.([0-9a-f]{64})\.([0-9]{1,9})")


class PayloadStoreUnreachable(StoreUnreachable):
    """S3 does not serve the payload's bucket now; try again later."""


class PayloadStoreError(SealwaxError):
    """The payload that the message refers to cannot be had: the message is unopenable."""

    cause: ClassVar[str] = "claim"


class PayloadMissing(PayloadStoreError):
    """The payload that the message refers to is not in the bucket."""

    cause = "claim-missing"


class PayloadAltered(PayloadStoreError):
    """The payload in the bucket is not the one that the message refers to."""

    cause = "claim-altered"


def is_reference(text: str) -> bool:
    """Whether a message's argument refers to the bucket."""
    return text.startswith("swxc1.")


class PayloadStore:
    """Access to the bucket.

    Parameters
    ----------
    client
        A boto3 S3 client with time-outs.
    """

    def __init__(self, client: S3Client, bucket: str) -> None:
        # A refusal may be a policy that is about to be mended: no payload is given up for it.
        unreachable = PayloadStoreUnreachable
        self._bucket = Bucket(lambda: client, bucket, unreachable, unreachable)

    def put(self, job_id: str, envelope: str) -> str:
        """Store an envelope; return the reference to send.

        Raises
        ------
        PayloadStoreUnreachable
        """
        body = envelope.encode()
        digest = hashlib.sha256(body).hexdigest()
        self._bucket.call(
            "put_object",
            Key=_key(LIVE, job_id, digest),
            Body=body,
            ContentType="text/plain; charset=us-ascii",
        )
        return f"swxc1.{digest}.{len(body)}"

    def fetch(self, job_id: str, reference: str) -> str:
        """Return the envelope that a job's reference names.

        Raises
        ------
        PayloadMissing, PayloadAltered, PayloadStoreUnreachable
        """
        digest, size = _parse(reference)
        for prefix in (LIVE, DEAD):
            try:
                # One more than it should have: a longer object is another one.
                body = self._bucket.read(_key(prefix, job_id, digest), limit=size + 1)
            except ObjectMissing:
                continue
            if len(body) != size or hashlib.sha256(body).hexdigest() != digest:
                raise PayloadAltered
            return body.decode("ascii", "replace")
        raise PayloadMissing

    def move_to_dead(self, job_id: str, reference: str) -> None:
        """Move the object to the dead jobs' prefix.

        Raises
        ------
        PayloadStoreUnreachable, PayloadMissing
        """
        digest, _ = _parse(reference)
        live = _key(LIVE, job_id, digest)
        try:
            self._bucket.call(
                "copy_object",
                Key=_key(DEAD, job_id, digest),
                CopySource={"Bucket": self._bucket.name, "Key": live},
            )
        except ObjectMissing:
            raise PayloadMissing from None
        self._bucket.call("delete_object", Key=live)

    def objects(self, job_id: str) -> list[str]:
        """Return the keys of a job's objects, live and dead."""
        found: list[str] = []
        for prefix in (LIVE, DEAD):
            answer = self._bucket.call("list_objects_v2", Prefix=f"{prefix}/{job_id}/")
            found += [item["Key"] for item in answer.get("Contents", [])]
        return found

    def erase(self, job_id: str) -> None:
        """Delete all of a job's objects: it has ended, and nobody will need them.

        There may be more than the one referred to: each repeat of a request puts
        its own before it knows of the job.

        Raises
        ------
        PayloadStoreUnreachable
        """
        for key in self.objects(job_id):
            self._bucket.call("delete_object", Key=key)


def _parse(reference: str) -> tuple[str, int]:
    match = _REFERENCE.fullmatch(reference)
    if match is None or int(match[2]) > MAX_BYTES:
        raise PayloadAltered
    return match[1], int(match[2])


def _key(prefix: str, job_id: str, digest: str) -> str:
    return f"{prefix}/{job_id}/{digest[:16]}"
