"""Keys of DynamoDB, spread over shards by a hash of the job's id; pure.

One partition key of DynamoDB takes 1,000 write units a second, and an index that
is throttled throttles every write of its table. Shard 0 has the plain key: what
was written before there were shards, or with one of them, stands there.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html
"""

from __future__ import annotations

import zlib

__all__ = ["SHARDS", "SHARDS_MAX", "shard_keys", "sharded"]

#: Shards of a lane and of a tenant unless the settings say otherwise: a job that
#: succeeds costs two write units in `by-watch`, so that 2,000 jobs a second take half
#: of what eight have; the other half is for the hash's uneven spread.
SHARDS = 8

#: Each shard is a query more for every page that is read.
SHARDS_MAX = 64


def sharded(key: str, job_id: str, shards: int) -> str:
    """Return the key of a job's shard."""
    shard = zlib.crc32(job_id.encode()) % shards
    return f"{key}#{shard}" if shard else key


def shard_keys(key: str, shards: int) -> list[str]:
    """Return the keys of all shards."""
    return [key, *(f"{key}#{shard}" for shard in range(1, shards))]
