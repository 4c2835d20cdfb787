"""A fake of DynamoDB Streams over HTTP, a real control table, readers in this process."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import defaultdict

import boto3
import pytest
from botocore.config import Config
from support.control_table import settings, table
from support.fake_streams import FakeStreams, served
from support.web_app import shared_app

from sealwax.streams import (
    Checkpoints,
    Delivered,
    Failed,
    Poison,
    StreamLimits,
    StreamReader,
    StreamRecord,
    StreamsClient,
)

__all__ = ["settings", "shared_app", "table"]

QUICK = {
    "lease": 2.0, "busy": 0.01, "idle": 0.05, "checkpoint_every": 0.1, "describe_every": 0.3,
    "first_wait": 0.05, "longest_wait": 0.3, "budget": 1.0,
}  # fmt: skip


class Sandbox:
    """A destination that notes what arrives, by key, and fails as it is told."""

    def __init__(self) -> None:
        self.arrived: dict[str, list[int]] = defaultdict(list)
        self.aside: list[tuple[str, int, str]] = []
        self.table: list[tuple[str, int]] = []
        self.recoveries = 0
        self.lock = threading.Lock()
        #: Called with key and number; returns an outcome, or None for Delivered.
        self.behaviour = lambda key, number: None

    def key_of(self, record):
        return record.item["pk"]["S"]

    def deliver(self, records):
        outcomes = []
        for record in records:
            key, number = record.item["pk"]["S"], int(record.item["n"]["N"])
            outcome = self.behaviour(key, number) or Delivered()
            if isinstance(outcome, Delivered):
                with self.lock:
                    self.arrived[key].append(number)
            outcomes.append(outcome)
        return outcomes

    def set_aside(self, record, reason):
        number = int(record.item["n"]["N"]) if "n" in record.item else -1
        with self.lock:
            self.aside.append((record.item.get("pk", {}).get("S", ""), number, reason))

    def recover(self):
        self.recoveries += 1
        with self.lock:
            missing = [
                (key, number) for key, number in self.table if number not in self.arrived[key]
            ]
        for key, number in missing:
            yield StreamRecord(keys={}, item=item_of(key, number), created=time.time())

    def first_arrivals(self, key):
        return list(dict.fromkeys(self.arrived[key]))


def item_of(key, number):
    return {"pk": {"S": key}, "n": {"N": str(number)}}


class Scene:
    """The stream, its table, and readers that come and go."""

    def __init__(self, streams, address, table) -> None:
        self.streams = streams
        self.address = address
        self.control = table
        self.sandbox = Sandbox()
        self.readers: list[tuple[StreamReader, threading.Thread]] = []
        self.numbers: dict[str, int] = defaultdict(int)

    def put(self, key):
        """Write an item as a producer does: to the table, whose stream tells of it."""
        number = self.numbers[key]
        self.numbers[key] += 1
        with self.sandbox.lock:
            self.sandbox.table.append((key, number))
        self.streams.put(key, item_of(key, number))

    def client(self):
        return StreamsClient(
            boto3.client(
                "dynamodbstreams",
                endpoint_url=self.address,
                region_name="eu-west-1",
                aws_access_key_id="x",
                aws_secret_access_key="x",
                config=Config(retries={"total_max_attempts": 2}, connect_timeout=2, read_timeout=5),
            )
        )

    def start(self, **more):
        limits = StreamLimits.model_validate(QUICK | more)
        checkpoints = Checkpoints(self.control, owner=uuid.uuid4().hex[:8], seconds=limits.lease)
        reader = StreamReader(self.client(), self.streams.table, checkpoints, self.sandbox, limits)
        thread = threading.Thread(target=reader.run, daemon=True)
        before = self.streams.calls["GetRecords"]
        thread.start()
        self.readers.append((reader, thread))
        if len(self.readers) == 1:
            # What is written during its first search of the table would come twice.
            self.wait(lambda: self.streams.calls["GetRecords"] > before)
        return reader

    def stop(self, *readers):
        for reader, thread in self.readers:
            if not readers or reader in readers:
                reader.stop()
                thread.join(30)
                assert not thread.is_alive()

    def wait(self, condition, seconds=60.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.told()
            time.sleep(0.02)

    def told(self):
        missing = {
            key: sorted(set(range(count)) - set(self.sandbox.arrived[key]))[:5]
            for key, count in self.numbers.items()
        }
        missing = {key: value for key, value in missing.items() if value}
        return json.dumps(
            {"missing": missing, "aside": self.sandbox.aside[:5], "calls": self.streams.calls}
        )

    def all_arrived(self):
        done = {(key, number) for key, number, _ in self.sandbox.aside}
        return all(
            number in self.sandbox.arrived[key] or (key, number) in done
            for key, count in list(self.numbers.items())
            for number in range(count)
        )

    def in_order(self):
        """Whether each key's first arrivals are in the order in which they were written."""
        return all(
            self.sandbox.first_arrivals(key) == sorted(set(self.sandbox.arrived[key]))
            for key in self.numbers
        )


@pytest.fixture
def scene(table, request):
    more = getattr(request, "param", {})
    streams = FakeStreams(f"jobs-{uuid.uuid4().hex[:8]}", **more)
    with served(streams) as address:
        made = Scene(streams, address, table)
        yield made
        made.stop()
    for kind in ("stream", "stream-reader"):
        for item in table.all(kind):
            table.delete(kind, item["id"])


__all__ += ["Failed", "Poison", "scene"]
