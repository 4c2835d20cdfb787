"""DynamoDB Streams' protocol with shards that split, roll over, close and are forgotten.

The emulators have one shard for ever. Seeded; what it does beside answering is asked for
by the test: `split`, `roll`, `trim`, `restart`, `expire`, and rates of faults.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Operations_Amazon_DynamoDB_Streams.html
"""

from __future__ import annotations

import json
import random
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Keys are spread over so many places, of which each shard has a range.
PLACES = 1 << 16

#: Shards of one page of DescribeStream: AWS's hundred would hide a forgotten page.
PAGE = 3

_PREFIX = "DynamoDBStreams_20120810."


@dataclass
class _Shard:
    id: str
    parent: str | None
    places: range
    records: list[dict[str, Any]] = field(default_factory=list)
    closed: bool = False
    #: Records that were forgotten.
    trimmed: int = 0


@dataclass
class _Stream:
    arn: str
    label: str
    shards: dict[str, _Shard] = field(default_factory=dict)


@dataclass
class Faults:
    """Shares of the calls that fail, each from 0 to 1."""

    throttled: float = 0.0
    empty: float = 0.0
    lost: float = 0.0
    broken: float = 0.0


class StreamError(Exception):
    """An error that the service answers."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class FakeStreams:
    """The streams of one table.

    Parameters
    ----------
    shards
        Roots at the start.
    most
        Most records of one page, whatever is asked for.
    """

    def __init__(self, table: str, *, seed: int = 1, shards: int = 1, most: int = 1_000) -> None:
        self.table = table
        self.faults = Faults()
        self.calls: Counter[str] = Counter()
        #: GetRecords by shard.
        self.reads: Counter[str] = Counter()
        self.most = most
        self._random = random.Random(seed)
        self._lock = threading.RLock()
        self._sequence = 10**23
        self._streams: list[_Stream] = []
        self._iterators: dict[str, tuple[str, str, int]] = {}
        self._numbers = 0
        self._roots = shards
        self.enable()

    @property
    def arn(self) -> str:
        """The newest stream's."""
        return self._streams[-1].arn

    def enable(self) -> None:
        """Switch the stream off and on: another one, which knows nothing of the past."""
        with self._lock:
            number = len(self._streams)
            label = f"2026-01-0{number + 1}T00:00:00.000"
            stream = _Stream(
                f"arn:aws:dynamodb:eu-west-1:1:table/{self.table}/stream/{label}", label
            )
            width = PLACES // self._roots
            for root in range(self._roots):
                end = PLACES if root == self._roots - 1 else (root + 1) * width
                self._open(stream, None, range(root * width, end))
            self._streams.append(stream)

    def put(self, key: str, item: dict[str, Any]) -> str:
        """Insert an item; return its sequence number."""
        with self._lock:
            place = zlib.crc32(key.encode()) % PLACES
            shard = next(each for each in self._open_shards() if place in each.places)
            return self._append(shard, "INSERT", {"pk": {"S": key}}, item)

    def put_raw(self, shard: str, record: dict[str, Any]) -> None:
        """Append a record as it is, with a sequence number of its own."""
        with self._lock:
            self._sequence += 1
            change = record.setdefault("dynamodb", {})
            change["SequenceNumber"] = str(self._sequence)
            self._streams[-1].shards[shard].records.append(record)

    def tell(self, key: str, event: str) -> None:
        """Tell of a change or a deletion."""
        with self._lock:
            place = zlib.crc32(key.encode()) % PLACES
            shard = next(each for each in self._open_shards() if place in each.places)
            self._append(shard, event, {"pk": {"S": key}}, {})

    def split(self) -> None:
        """Close the shard with the most places; two children go on."""
        with self._lock:
            shard = max(self._open_shards(), key=lambda each: len(each.places))
            shard.closed = True
            places = shard.places
            middle = (places.start + places.stop) // 2
            for part in (range(places.start, middle), range(middle, places.stop)):
                self._open(self._streams[-1], shard.id, part)

    def roll(self) -> None:
        """Close every shard; a child of each goes on."""
        with self._lock:
            for shard in self._open_shards():
                shard.closed = True
                self._open(self._streams[-1], shard.id, shard.places)

    def trim(self) -> None:
        """Forget every record; closed shards vanish."""
        with self._lock:
            shards = self._streams[-1].shards
            for shard in list(shards.values()):
                shard.trimmed = len(shard.records)
                if shard.closed:
                    del shards[shard.id]

    def expire(self) -> None:
        """Let every iterator be older than its time."""
        with self._lock:
            self._iterators.clear()

    def open_shards(self) -> list[str]:
        """Return the ids of the shards that take records."""
        with self._lock:
            return [shard.id for shard in self._open_shards()]

    def _open_shards(self) -> list[_Shard]:
        return [shard for shard in self._streams[-1].shards.values() if not shard.closed]

    def _open(self, stream: _Stream, parent: str | None, places: range) -> None:
        self._numbers += 1
        shard = _Shard(
            f"shardId-{self._numbers:020}-{self._random.getrandbits(32):08x}", parent, places
        )
        stream.shards[shard.id] = shard

    def _append(self, shard: _Shard, event: str, keys: dict[str, Any], item: dict[str, Any]) -> str:
        self._sequence += self._random.randrange(1, 1_000)
        change = {
            "ApproximateCreationDateTime": int(time.time()),
            "Keys": keys,
            "NewImage": item,
            "SequenceNumber": str(self._sequence),
            "SizeBytes": len(json.dumps(item)),
            "StreamViewType": "NEW_IMAGE",
        }
        shard.records.append({"eventID": "0", "eventName": event, "dynamodb": change})
        return str(self._sequence)

    def answer(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer a call, or raise `StreamError`."""
        with self._lock:
            self.calls[operation] += 1
            if self._random.random() < self.faults.throttled:
                raise StreamError("LimitExceededException")
            if self._random.random() < self.faults.broken:
                raise StreamError("InternalServerError")
            if operation == "ListStreams":
                return {
                    "Streams": [
                        {"StreamArn": each.arn, "TableName": self.table, "StreamLabel": each.label}
                        for each in self._streams
                    ]
                }
            if operation == "DescribeStream":
                return self._describe(asked)
            if operation == "GetShardIterator":
                return self._iterate(asked)
            if operation == "GetRecords":
                return self._get(asked)
            raise StreamError("ValidationException")

    def _stream(self, arn: str) -> _Stream:
        for stream in self._streams:
            if stream.arn == arn:
                return stream
        raise StreamError("ResourceNotFoundException")

    def _describe(self, asked: dict[str, Any]) -> dict[str, Any]:
        stream = self._stream(asked["StreamArn"])
        ids = sorted(stream.shards)
        start = asked.get("ExclusiveStartShardId")
        page = [each for each in ids if start is None or each > start]
        told = []
        for each in page[:PAGE]:
            shard = stream.shards[each]
            told.append({"ShardId": each, "SequenceNumberRange": {"StartingSequenceNumber": "1"}})
            if shard.parent:
                told[-1]["ParentShardId"] = shard.parent
        description: dict[str, Any] = {"StreamArn": stream.arn, "Shards": told}
        if len(page) > PAGE:
            description["LastEvaluatedShardId"] = page[PAGE - 1]
        return {"StreamDescription": description}

    def _iterate(self, asked: dict[str, Any]) -> dict[str, Any]:
        stream = self._stream(asked["StreamArn"])
        shard = stream.shards.get(asked["ShardId"])
        if shard is None:
            raise StreamError("ResourceNotFoundException")
        kind = asked["ShardIteratorType"]
        if kind == "TRIM_HORIZON":
            at = shard.trimmed
        else:
            wanted = asked["SequenceNumber"]
            numbers = [each["dynamodb"]["SequenceNumber"] for each in shard.records]
            if wanted not in numbers:
                raise StreamError("ValidationException")
            at = numbers.index(wanted)
            if at < shard.trimmed:
                raise StreamError("TrimmedDataAccessException")
            at += kind == "AFTER_SEQUENCE_NUMBER"
        return {"ShardIterator": self._iterator(stream.arn, shard.id, at)}

    def _iterator(self, arn: str, shard: str, at: int) -> str:
        name = f"{len(self._iterators)}-{self._random.getrandbits(64):016x}"
        self._iterators[name] = (arn, shard, at)
        return name

    def _get(self, asked: dict[str, Any]) -> dict[str, Any]:
        place = self._iterators.get(asked["ShardIterator"])
        if place is None:
            raise StreamError("ExpiredIteratorException")
        arn, name, at = place
        self.reads[name] += 1
        shard = self._stream(arn).shards.get(name)
        if shard is None:
            raise StreamError("ResourceNotFoundException")
        if at < shard.trimmed:
            raise StreamError("TrimmedDataAccessException")
        if self._random.random() < self.faults.empty:
            return {"Records": [], "NextShardIterator": self._iterator(arn, name, at)}
        page = shard.records[at : at + min(self.most, asked.get("Limit", 1_000))]
        end = at + len(page)
        answer: dict[str, Any] = {"Records": page}
        if not (shard.closed and end == len(shard.records)):
            answer["NextShardIterator"] = self._iterator(arn, name, end)
        return answer

    def loses(self) -> bool:
        """Whether an answer is to be lost, after its call was carried out."""
        with self._lock:
            return self._random.random() < self.faults.lost


@contextmanager
def served(streams: FakeStreams) -> Iterator[str]:
    """Serve the protocol on a free port; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            operation = self.headers["X-Amz-Target"].removeprefix(_PREFIX)
            try:
                status, answer = 200, streams.answer(operation, body)
            except StreamError as error:
                status = 500 if error.code == "InternalServerError" else 400
                answer = {"__type": f"com.amazonaws.dynamodb.v20120810#{error.code}"}
            if streams.loses():
                self.close_connection = True
                self.connection.close()
                return
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
