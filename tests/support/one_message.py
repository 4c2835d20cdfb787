"""A queue in memory that keeps few messages, and worker processes that receive them.

Messages, counts, times and FIFO order are as SQS has them; calls succeed at once, in the
caller's thread, unless `refused` names their kind. Each `Worker` is a process: what the
transport remembers is forgotten with it. Channel, settler, requests and tasks are real.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from sealwax.aws.clock import AWS_CLOCK
from sealwax.telemetry.counters import Counters
from sealwax.transport import transport as transports
from sealwax.transport.batching import BatchEntry, EntryResult
from sealwax.transport.celery.request import Request
from sealwax.transport.dead_letters import ATTRIBUTE
from sealwax.transport.in_flight import Delivery
from sealwax.transport.message import Message
from sealwax.transport.options import TransportOptions
from sealwax.transport.parking import Parked
from sealwax.transport.receiver import Receivers

__all__ = ["Worker", "World"]

DAY = 86_400.0


@dataclass(eq=False)
class Stored:
    """One message in the queue."""

    fields: dict[str, Any]
    sent: float
    visible: float
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    receipt: str = ""
    received: int = 0
    first: float = 0.0


class World:
    """One queue, its dead letters, a clock, and what was parked.

    Parameters
    ----------
    retention
        Seconds that the queue keeps a message.
    options
        The transport's.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *,
        queue: str = "q",
        retention: float = 4 * DAY,
        **options: Any,
    ) -> None:
        self.queue, self.fifo = queue, queue.endswith(".fifo")
        self.now = 1_800_000_000.0
        monkeypatch.setattr(AWS_CLOCK, "_machine", lambda: self.now)
        monkeypatch.setattr(AWS_CLOCK, "_ahead", None)
        # Connections that publish are kept for longer than a world.
        monkeypatch.setattr(transports.Transport, "engine", property(lambda _: self.engine))
        self.messages: list[Stored] = []
        self.letters: list[dict[str, Any]] = []
        self.parked: list[Parked] = []
        self.refused: set[str] = set()
        #: Messages in flight, as SQS says.
        self.crowd = 0
        self.options = TransportOptions(**options)
        self.engine = Engine(self, retention)
        self.app = Celery(
            "one",
            broker="sealwax://",
            task_cls="sealwax.transport:Task",
            set_as_current=False,
        )
        self.app.now = lambda: datetime.fromtimestamp(self.now, UTC)
        self.app.conf.update(
            task_default_queue=queue, broker_transport_options={"region": "us-east-1", **options}
        )

    def worker(self) -> Worker:
        """Start a process; those before it are gone, or go on beside it."""
        return Worker(self)

    def send(self, fields: dict[str, Any]) -> Stored:
        """Take a message, as SendMessageBatch does; a known deduplication id is swallowed."""
        once = fields.get("MessageDeduplicationId")
        assert not (self.fifo and "DelaySeconds" in fields)
        assert not self.fifo or (once and fields.get("MessageGroupId"))
        made = Stored(fields, sent=self.now, visible=self.now + fields.get("DelaySeconds", 0))
        self.messages.append(made)
        return made

    def park(self, *, crowd: int = 0) -> None:
        """Have workers park what waits for long."""
        self.crowd = crowd
        self.options = replace(self.options, park=self.parked.append)

    def expire(self, retention: float) -> None:
        """Delete what is older than the queue keeps."""
        self.messages = [each for each in self.messages if self.now - each.sent < retention]

    def send_parked(self) -> None:
        """Send again, when it is due, what was parked."""
        for item in self.parked:
            self.now = max(self.now, item.due)
            fields = {"MessageBody": item.body, "MessageAttributes": item.attributes}
            self.send(fields | ({"MessageGroupId": item.group} if item.group else {}))
        self.parked.clear()
        self.options = replace(self.options, park=None)

    def redrive(self) -> None:
        """Move the dead letters back, as an operator does."""
        for letter in self.letters:
            attributes = letter.get("MessageAttributes", {})
            kept = {name: value for name, value in attributes.items() if name != ATTRIBUTE}
            self.send({**letter, "MessageAttributes": kept})
        self.letters.clear()


class Engine:
    """The calls of all workers of a world."""

    def __init__(self, world: World, retention: float) -> None:
        self.world, self._retention = world, retention
        self.pid = os.getpid()
        self.counters = Counters()
        self.background = SimpleNamespace(run=self._run, flush=lambda timeout: True)
        self.counter_log = SimpleNamespace(write=lambda: None, tick=lambda: None)

    def _run(self, work: Callable[..., None], *args: Any, delay: float = 0.0) -> None:
        work(*args)

    @property
    def options(self) -> TransportOptions:
        return self.world.options

    @property
    def quick(self) -> Any:
        attributes = {"ApproximateNumberOfMessagesNotVisible": str(self.world.crowd)}
        return SimpleNamespace(get_queue_attributes=lambda **_: {"Attributes": attributes})

    def url(self, queue: str) -> str:
        return queue

    patient_url = url

    def dead_letter_url(self, queue: str) -> str:
        return "dead.fifo" if self.world.fifo else "dead"

    def retention(self, queue: str) -> float:
        self.world.expire(self._retention)
        return self._retention

    def flush(self, timeout: float) -> bool:
        return True

    def calls(self, url: str) -> Any:
        kinds = ("send", "letters", "delete", "visibility")
        return SimpleNamespace(
            **{kind: SimpleNamespace(submit=getattr(self, f"_{kind}")(url)) for kind in kinds}
        )

    def _submitter(self, kind: str, act: Callable[[dict[str, Any]], None]) -> Any:
        def submit(entry: BatchEntry, *, here: bool = False) -> None:
            if kind in self.world.refused:
                entry.done(EntryResult(ok=False, code="AccessDenied"))
                return
            act(entry.fields)
            entry.done(EntryResult(ok=True))

        return submit

    def _send(self, url: str) -> Any:
        return self._submitter("send", self.world.send)

    def _letters(self, url: str) -> Any:
        if url.startswith("dead"):
            return self._submitter("dead", self.world.letters.append)
        return self._submitter("letters", self.world.send)

    def _delete(self, url: str) -> Any:
        def delete(fields: dict[str, Any]) -> None:
            kept = [each for each in self.world.messages if each.receipt != fields["ReceiptHandle"]]
            self.world.messages = kept

        return self._submitter("delete", delete)

    def _visibility(self, url: str) -> Any:
        def change(fields: dict[str, Any]) -> None:
            for each in self.world.messages:
                if each.receipt == fields["ReceiptHandle"]:
                    each.visible = self.world.now + fields["VisibilityTimeout"]

        return self._submitter("visibility", change)


class Worker:
    """One worker process, as far as it handles messages."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.channel = world.app.connection_for_read().channel()
        self.settler = self.channel.settler
        self.settler._wanted.add(world.queue)
        self._receivers = Receivers(
            world.engine,  # type: ignore[arg-type]
            world.queue,
            self.settler.in_flight,
            self.settler.groups,
            self.settler.liveness,
            arrived=lambda found: None,
            give_up=lambda found: None,
        )

    def receive(self) -> Delivery:
        """Receive the oldest message that is visible, at the time at which it is."""
        world = self.world
        visible = (
            world.messages[:1]
            if world.fifo
            else sorted(world.messages, key=lambda each: each.visible)
        )
        stored = visible[0]
        world.now = max(world.now, stored.visible)
        stored.received += 1
        stored.first = stored.first or world.now
        stored.receipt = uuid.uuid4().hex
        stored.visible = world.now + world.options.lease
        delivery = self._receivers._delivery(
            {
                "MessageId": stored.id,
                "ReceiptHandle": stored.receipt,
                "Body": stored.fields["MessageBody"],
                "MessageAttributes": stored.fields.get("MessageAttributes"),
                "Attributes": {
                    "ApproximateReceiveCount": str(stored.received),
                    "SentTimestamp": str(int(stored.sent * 1_000)),
                    "ApproximateFirstReceiveTimestamp": str(int(stored.first * 1_000)),
                    **(
                        {"MessageGroupId": stored.fields["MessageGroupId"]}
                        if "MessageGroupId" in stored.fields
                        else {}
                    ),
                },
            },
            uuid.uuid4().hex,
        )
        self.settler.in_flight.add([delivery], 0)
        self.settler.groups.admit(delivery)
        return delivery

    def open(self, delivery: Delivery) -> Message | None:
        """Return what Celery gets of a delivery; None: it is not due, or became a letter."""
        found: list[Message] = []
        self.channel._callbacks[self.world.queue] = found.append
        self.channel.deliver(delivery)
        return found[0] if found else None

    def take(self) -> Message:
        """Receive until there is a message for Celery; return it."""
        for _ in range(1_000):
            opened = self.open(self.receive())
            if opened is not None:
                return opened
        raise AssertionError("it is never due")

    def request(self, message: Message) -> Request:
        """Return the request of a message."""
        task = self.world.app.tasks[message.headers["task"]]
        return Request(
            message,
            app=self.world.app,
            task=task,
            headers=message.headers,
            body=message.body,
            on_ack=lambda *_: None,
            on_reject=lambda *_: None,
        )

    def start(self, message: Message | None = None) -> Request:
        """Hand a message to the pool: the one that is received next, unless one is given."""
        request = self.request(message or self.take())
        assert self.settler.start(request._token)
        request._started = True
        return request
