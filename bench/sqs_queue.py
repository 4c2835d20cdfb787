"""Queues of SQS in memory: visibility, delays, groups, redrive; what `sqs_server.py` serves.

Nothing here waits or speaks HTTP; time is the machine's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import heapq
import itertools
import json
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqs_modes import Modes

__all__ = ["ACCOUNT", "Expired", "Message", "Queue", "ServiceError"]

REGION = "us-east-1"
ACCOUNT = "000000000000"

#: Seconds for which a FIFO receive's repeat brings what the first brought.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
ATTEMPT_SECONDS = 300


class ServiceError(Exception):
    """An answer with an error code."""

    def __init__(self, code: str, message: str = "", status: int = 400) -> None:
        super().__init__(message or code)
        self.code, self.status = code, status
        #: The code of the same refusal in a batch's answer.
        self.entry_code = code


class Expired(ServiceError):
    """A FIFO queue's receipt is used after its lease."""

    def __init__(self) -> None:
        super().__init__("InvalidParameterValue", "The receipt handle has expired")
        self.entry_code = "ReceiptHandleIsInvalid"


@dataclass(eq=False)
class Message:
    """One message and its present receipt."""

    body: str
    attributes: dict[str, Any]
    group: str | None
    dedup: str | None
    sent: float
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    receipt: str = ""
    received: int = 0
    first_received: float = 0.0
    last_received: float = 0.0
    visible_at: float = 0.0
    in_flight: bool = False
    waiting: bool = False
    gone: bool = False


class Queue:
    """One queue."""

    def __init__(self, name: str, url: str, attributes: dict[str, str]) -> None:
        self.name, self.url, self.attributes = name, url, attributes
        self.fifo = name.endswith(".fifo")
        self.ready: deque[Message] = deque()
        self.groups: OrderedDict[str, deque[Message]] = OrderedDict()
        self.hidden: list[tuple[float, int, Message]] = []
        # Kept up to date, so that looking at the depth costs those who are measured nothing.
        self.visible = 0
        self.in_flight: set[Message] = set()
        self.sequence = itertools.count()
        self.by_receipt: dict[str, Message] = {}
        self.dedups: dict[str, tuple[float, str]] = {}
        #: By the id of a receive: when, and the messages with the receipts that it brought.
        self.attempts: dict[str, tuple[float, list[tuple[Message, str]]]] = {}
        #: Receipts of a FIFO queue's messages that were received again since.
        self.stale: set[str] = set()
        self.waiters: deque[asyncio.Future[None]] = deque()
        self.timer: asyncio.TimerHandle | None = None

    @property
    def arn(self) -> str:
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{self.name}"

    def redrive(self) -> tuple[str, int] | None:
        policy = json.loads(self.attributes.get("RedrivePolicy") or "{}")
        if not policy:
            return None
        return policy["deadLetterTargetArn"].rpartition(":")[2], int(policy["maxReceiveCount"])

    def put(self, message: Message, delay: float, *, back: bool = False) -> None:
        now = time.time()
        if delay > 0:
            message.visible_at = now + delay
            heapq.heappush(self.hidden, (message.visible_at, next(self.sequence), message))
            if self.fifo and not back:
                self.groups.setdefault(message.group or "", deque()).append(message)
            self.schedule()
            return
        message.visible_at = now
        self.land(message)
        if self.fifo:
            if not back:
                self.groups.setdefault(message.group or "", deque()).append(message)
        else:
            self.offer(message, first=back)
        self.wake()

    def offer(self, message: Message, *, first: bool = False) -> None:
        message.waiting = True
        self.visible += 1
        (self.ready.appendleft if first else self.ready.append)(message)

    def land(self, message: Message) -> None:
        message.in_flight = False
        self.in_flight.discard(message)

    def withdraw(self, message: Message) -> None:
        if message.waiting:
            message.waiting = False
            self.visible -= 1

    def wake(self) -> None:
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def schedule(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.hidden:
            wait = max(0.0, self.hidden[0][0] - time.time()) + 0.001
            self.timer = asyncio.get_running_loop().call_later(wait, self.surface)

    def surface(self) -> None:
        now = time.time()
        while self.hidden and self.hidden[0][0] <= now:
            at, _, message = heapq.heappop(self.hidden)
            if message.gone or message.visible_at != at:
                continue  # deleted, or given another time since
            self.land(message)
            if not self.fifo:
                self.offer(message)
            self.wake()
        self.schedule()

    def take(
        self, most: int, visibility: float, modes: Modes, by_name: Callable[[str], Queue]
    ) -> list[Message]:
        self.surface()
        found: list[Message] = []
        redrive = self.redrive()
        for message in self._candidates(most, modes):
            if redrive and message.received >= redrive[1]:
                self.remove(message)
                by_name(redrive[0]).put(
                    Message(
                        message.body, message.attributes, message.group, message.dedup, time.time()
                    ),
                    0,
                )
                continue
            now = time.time()
            message.received += 1
            message.first_received = message.first_received or now
            message.last_received = now
            if self.by_receipt.pop(message.receipt, None) and self.fifo:
                self.stale.add(message.receipt)
            message.receipt = uuid.uuid4().hex
            self.by_receipt[message.receipt] = message
            if not self.fifo and modes.twice():
                self.offer(dataclasses.replace(message, receipt="", waiting=False))
            if visibility > 0:
                message.in_flight = True
                self.in_flight.add(message)
                message.visible_at = now + visibility
                heapq.heappush(self.hidden, (message.visible_at, next(self.sequence), message))
            elif not self.fifo:
                self.offer(message)
            found.append(message)
        if found:
            self.schedule()
        return found

    def remember(self, attempt: str, brought: list[Message]) -> None:
        """Keep what a FIFO receive of this id brought, for as long as it may be asked again."""
        now = time.time()
        while self.attempts:
            oldest = next(iter(self.attempts))
            if self.attempts[oldest][0] + ATTEMPT_SECONDS > now:
                break
            del self.attempts[oldest]
        self.attempts[attempt] = now, [(message, message.receipt) for message in brought]

    def again(self, attempt: str, visibility: float) -> list[Message] | None:
        """Return what a FIFO receive of this id brought, if it is all still held."""
        at, brought = self.attempts.get(attempt, (0.0, []))
        if time.time() > at + ATTEMPT_SECONDS or not brought:
            return None
        for message, receipt in brought:
            if message.gone or message.receipt != receipt or not message.in_flight:
                return None
        for message, _ in brought:
            message.visible_at = time.time() + visibility
            heapq.heappush(self.hidden, (message.visible_at, next(self.sequence), message))
        self.schedule()
        return [message for message, _ in brought]

    def _candidates(self, most: int, modes: Modes) -> list[Message]:
        found: list[Message] = []
        if not self.fifo:
            while self.ready and len(found) < most:
                place = modes.place(len(self.ready))
                message = self.ready[place]
                del self.ready[place]
                if not message.gone:
                    self.withdraw(message)
                    found.append(message)
            return found
        now = time.time()
        for name in list(self.groups):
            if len(found) >= most:
                break
            messages = self.groups[name]
            if any(m.in_flight for m in messages):
                continue
            if messages and messages[0].visible_at > now:
                continue
            taken = list(itertools.islice(messages, most - len(found)))
            found.extend(taken)
            self.groups.move_to_end(name)
        return found

    def remove(self, message: Message) -> None:
        self.withdraw(message)
        message.gone = True
        self.land(message)
        self.by_receipt.pop(message.receipt, None)
        if self.fifo:
            messages = self.groups.get(message.group or "")
            if messages and message in messages:
                messages.remove(message)
                if not messages:
                    self.groups.pop(message.group or "")
        if self.fifo or self.ready:
            self.wake()

    def depth(self) -> tuple[int, int]:
        self.surface()
        if self.fifo:
            everything = [m for g in self.groups.values() for m in g]
            hidden = sum(m.in_flight for m in everything)
            return len(everything) - hidden, hidden
        return self.visible, len(self.in_flight)
