"""Reading of a DynamoDB table's Stream, each key in order, poison set aside.

A reader shares the shards with others and takes over from those that are gone; one
key's trouble never stops another's; what the stream has forgotten is searched for in
the table. Give it a `Destination`, and run it.
"""

from __future__ import annotations

from sealwax.streams.backlog import StreamLimits
from sealwax.streams.checkpoints import Checkpoints
from sealwax.streams.client import StreamsClient, StreamUnreachable
from sealwax.streams.destination import Destination
from sealwax.streams.reader import ShardStatus, StreamReader
from sealwax.streams.records import Delivered, Failed, Outcome, Poison, StreamRecord, Waits

__all__ = [
    "Checkpoints",
    "Delivered",
    "Destination",
    "Failed",
    "Outcome",
    "Poison",
    "ShardStatus",
    "StreamLimits",
    "StreamReader",
    "StreamRecord",
    "StreamUnreachable",
    "StreamsClient",
    "Waits",
]
