"""Calls to DynamoDB Streams, their errors turned into what a reader does next.

Called by the readers of shards. It never retries: boto3's own tries are bounded, and
the reader knows where it stands.
"""

from __future__ import annotations

from typing import Any

from sealwax.aws.errors import AWS_ERRORS, THROTTLED, error_code
from sealwax.errors import SealwaxError
from sealwax.streams.shards import Shard

__all__ = [
    "IteratorExpired",
    "RecordsTrimmed",
    "StreamGone",
    "StreamThrottled",
    "StreamUnreachable",
    "StreamsClient",
]


class StreamUnreachable(SealwaxError):
    """DynamoDB Streams does not answer now; try again later."""


class StreamThrottled(StreamUnreachable):
    """DynamoDB Streams throttles this shard's readers; ask less often."""


class IteratorExpired(SealwaxError):
    """The iterator is older than fifteen minutes; take one at the last record."""


class RecordsTrimmed(SealwaxError):
    """The Stream has forgotten what was asked for: it is older than a day."""


class StreamGone(SealwaxError):
    """There is no such stream or shard any more."""


_MEANINGS: dict[str, type[SealwaxError]] = {
    "ExpiredIteratorException": IteratorExpired,
    "ResourceNotFoundException": StreamGone,
    "TrimmedDataAccessException": RecordsTrimmed,
    **dict.fromkeys(THROTTLED, StreamThrottled),
}


class StreamsClient:
    """Access to the Streams of one account and region.

    Parameters
    ----------
    client
        A boto3 client of the service `dynamodbstreams`, with time-outs.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def latest_arn(self, table: str) -> str | None:
        """Return the ARN of a table's newest stream; None where it has none.

        A stream that is switched off and on again is another one. Labels are times,
        so that the newest sorts last.
        """
        found: list[Any] = []
        more: dict[str, Any] = {}
        while True:
            page = self._call("list_streams", TableName=table, **more)
            found += page.get("Streams", [])
            if not page.get("LastEvaluatedStreamArn"):
                break
            more = {"ExclusiveStartStreamArn": page["LastEvaluatedStreamArn"]}
        newest = max(found, key=lambda each: str(each["StreamLabel"]), default=None)
        return None if newest is None else str(newest["StreamArn"])

    def shards(self, arn: str) -> list[Shard]:
        """Return all shards of a stream, those included that are closed and not yet trimmed."""
        found: list[Shard] = []
        more: dict[str, Any] = {}
        while True:
            page = self._call("describe_stream", StreamArn=arn, **more)["StreamDescription"]
            found += [Shard(each["ShardId"], each.get("ParentShardId")) for each in page["Shards"]]
            if not page.get("LastEvaluatedShardId"):
                return found
            more = {"ExclusiveStartShardId": page["LastEvaluatedShardId"]}

    def iterator(self, arn: str, shard: str, *, after: str = "", at: str = "") -> str:
        """Return an iterator after or at a sequence number; by default at the oldest record.

        Raises
        ------
        RecordsTrimmed, StreamGone, StreamUnreachable
        """
        place: dict[str, Any] = {"ShardIteratorType": "TRIM_HORIZON"}
        if at or after:
            kind = "AT" if at else "AFTER"
            place = {
                "ShardIteratorType": f"{kind}_SEQUENCE_NUMBER",
                "SequenceNumber": at or after,
            }
        answer = self._call("get_shard_iterator", StreamArn=arn, ShardId=shard, **place)
        return str(answer["ShardIterator"])

    def records(self, iterator: str, most: int) -> tuple[list[dict[str, Any]], str | None]:
        """Return the next records, and where to go on; None at the end of a closed shard.

        No records say nothing of the end.

        Raises
        ------
        IteratorExpired, RecordsTrimmed, StreamGone, StreamUnreachable
        """
        answer = self._call("get_records", ShardIterator=iterator, Limit=most)
        following = answer.get("NextShardIterator")
        return list(answer.get("Records", [])), str(following) if following else None

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**arguments)
        except AWS_ERRORS as error:
            code = error_code(error)
            meaning = _MEANINGS.get(code, StreamUnreachable)
            raise meaning(f"DynamoDB Streams answered {operation} with {code}.") from error
        return answer
