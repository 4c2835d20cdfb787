"""A minimal in-memory SQS for benchmarks and fault tests: quick, deterministic, counting.

Speaks the JSON protocol of the AWS SDKs on 127.0.0.1, with standard and FIFO
queues, visibility, delays, long polls, redrive policies and batch limits; no
authentication. `--latency` adds time to every call, as a network would.

Control: GET /_state gives calls and bytes by operation and queue depths, POST
/_reset forgets the calls, POST /_latency?ms=N changes the latency.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import heapq
import itertools
import json
import time
import uuid
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

REGION = "us-east-1"
ACCOUNT = "000000000000"


class ServiceError(Exception):
    """An answer with an error code."""

    def __init__(self, code: str, message: str = "", status: int = 400) -> None:
        super().__init__(message or code)
        self.code, self.status = code, status


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

    def take(self, most: int, visibility: float, server: Server) -> list[Message]:
        self.surface()
        found: list[Message] = []
        redrive = self.redrive()
        for message in self._candidates(most):
            if redrive and message.received >= redrive[1]:
                self.remove(message)
                server.by_name(redrive[0]).put(
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
            self.by_receipt.pop(message.receipt, None)
            message.receipt = uuid.uuid4().hex
            self.by_receipt[message.receipt] = message
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

    def _candidates(self, most: int) -> list[Message]:
        found: list[Message] = []
        if not self.fifo:
            while self.ready and len(found) < most:
                message = self.ready.popleft()
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
            self.wake()

    def depth(self) -> tuple[int, int]:
        self.surface()
        if self.fifo:
            everything = [m for g in self.groups.values() for m in g]
            hidden = sum(m.in_flight for m in everything)
            return len(everything) - hidden, hidden
        return self.visible, len(self.in_flight)


def _size(entry: dict[str, Any]) -> int:
    size = len(entry["MessageBody"].encode())
    for name, value in (entry.get("MessageAttributes") or {}).items():
        size += len(name) + sum(len(str(part)) for part in value.values())
    return size


class Server:
    """All queues, and the operations on them."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.queues: dict[str, Queue] = {}
        self.calls: Counter[str] = Counter()
        #: Of requests and answers, with their headers.
        self.bytes: Counter[str] = Counter()
        self.base = ""

    def by_name(self, name: str) -> Queue:
        try:
            return self.queues[name]
        except KeyError:
            raise ServiceError("AWS.SimpleQueueService.NonExistentQueue") from None

    def by_url(self, request: dict[str, Any]) -> Queue:
        return self.by_name(str(request.get("QueueUrl", "")).rpartition("/")[2])

    async def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        method = getattr(self, f"do_{operation}", None)
        if method is None:
            raise ServiceError("InvalidAction", operation)
        self.calls[operation] += 1
        if self.latency:
            await asyncio.sleep(self.latency)
        answer = method(request)
        if asyncio.iscoroutine(answer):
            answer = await answer
        return answer or {}

    def do_CreateQueue(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["QueueName"]
        attributes = dict(request.get("Attributes") or {})
        self.queues.setdefault(name, Queue(name, f"{self.base}/{ACCOUNT}/{name}", attributes))
        return {"QueueUrl": self.queues[name].url}

    def do_GetQueueUrl(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"QueueUrl": self.by_name(request["QueueName"]).url}

    def do_ListQueues(self, request: dict[str, Any]) -> dict[str, Any]:
        prefix = request.get("QueueNamePrefix") or ""
        return {"QueueUrls": [q.url for n, q in self.queues.items() if n.startswith(prefix)]}

    def do_DeleteQueue(self, request: dict[str, Any]) -> None:
        self.queues.pop(self.by_url(request).name)

    def do_PurgeQueue(self, request: dict[str, Any]) -> None:
        queue = self.by_url(request)
        self.queues[queue.name] = Queue(queue.name, queue.url, queue.attributes)

    def do_SetQueueAttributes(self, request: dict[str, Any]) -> None:
        self.by_url(request).attributes.update(request["Attributes"])

    def do_GetQueueAttributes(self, request: dict[str, Any]) -> dict[str, Any]:
        queue = self.by_url(request)
        visible, hidden = queue.depth()
        return {
            "Attributes": {
                "VisibilityTimeout": "30",
                "MessageRetentionPeriod": "345600",
                **queue.attributes,
                "QueueArn": queue.arn,
                "ApproximateNumberOfMessages": str(visible),
                "ApproximateNumberOfMessagesNotVisible": str(hidden),
                "ApproximateNumberOfMessagesDelayed": "0",
            }
        }

    def do_SendMessage(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._send(self.by_url(request), request)

    def _send(self, queue: Queue, entry: dict[str, Any]) -> dict[str, Any]:
        body = entry["MessageBody"]
        now = time.time()
        digest = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
        group, dedup = entry.get("MessageGroupId"), entry.get("MessageDeduplicationId")
        if _size(entry) > int(queue.attributes.get("MaximumMessageSize", 1_048_576)):
            raise ServiceError("InvalidParameterValue", "The message is too long")
        if queue.fifo:
            if not group:
                raise ServiceError("MissingParameter", "MessageGroupId")
            if entry.get("DelaySeconds"):
                raise ServiceError("InvalidParameterValue", "DelaySeconds")
            known = queue.dedups.get(dedup or "")
            if dedup and known and known[0] > now:
                return {"MessageId": known[1], "MD5OfMessageBody": digest}
        message = Message(body, entry.get("MessageAttributes") or {}, group, dedup, now)
        if queue.fifo and dedup:
            queue.dedups[dedup] = (now + 300, message.id)
        queue.put(message, float(entry.get("DelaySeconds") or 0))
        return {"MessageId": message.id, "MD5OfMessageBody": digest}

    def do_SendMessageBatch(self, request: dict[str, Any]) -> dict[str, Any]:
        size = sum(len(e["MessageBody"].encode()) for e in request["Entries"])
        if size > 1_048_576:
            raise ServiceError("AWS.SimpleQueueService.BatchRequestTooLong")
        return self._batch(request, self._send)

    def _batch(self, request: dict[str, Any], each: Any) -> dict[str, Any]:
        queue = self.by_url(request)
        entries = request["Entries"]
        if not entries:
            raise ServiceError("AWS.SimpleQueueService.EmptyBatchRequest")
        if len(entries) > 10:
            raise ServiceError("AWS.SimpleQueueService.TooManyEntriesInBatchRequest")
        done, failed = [], []
        for entry in entries:
            try:
                done.append({"Id": entry["Id"], **(each(queue, entry) or {})})
            except ServiceError as error:
                failed.append(
                    {
                        "Id": entry["Id"],
                        "SenderFault": True,
                        "Code": error.code,
                        "Message": str(error),
                    }
                )
        return {"Successful": done, "Failed": failed}

    async def do_ReceiveMessage(self, request: dict[str, Any]) -> dict[str, Any]:
        queue = self.by_url(request)
        most = int(request.get("MaxNumberOfMessages") or 1)
        visibility = request.get("VisibilityTimeout")
        if visibility is None:
            visibility = float(queue.attributes.get("VisibilityTimeout", 30))
        until = time.monotonic() + float(
            request.get("WaitTimeSeconds")
            if request.get("WaitTimeSeconds") is not None
            else queue.attributes.get("ReceiveMessageWaitTimeSeconds", 0)
        )
        found = queue.take(most, float(visibility), self)
        while not found and time.monotonic() < until:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            queue.waiters.append(waiter)
            try:
                await asyncio.wait_for(waiter, until - time.monotonic())
            except TimeoutError:
                break
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    queue.wake()
                raise
            found = queue.take(most, float(visibility), self)
        if len(found) == most and (queue.ready or queue.fifo):
            queue.wake()
        return {"Messages": [self._received(m) for m in found]} if found else {}

    def _received(self, message: Message) -> dict[str, Any]:
        system = {
            "ApproximateReceiveCount": str(message.received),
            "SentTimestamp": str(int(message.sent * 1000)),
            "ApproximateFirstReceiveTimestamp": str(int(message.first_received * 1000)),
            "SenderId": "bench",
        }
        if message.group:
            system["MessageGroupId"] = message.group
        if message.dedup:
            system["MessageDeduplicationId"] = message.dedup
        found = {
            "MessageId": message.id,
            "ReceiptHandle": message.receipt,
            "MD5OfBody": hashlib.md5(message.body.encode(), usedforsecurity=False).hexdigest(),
            "Body": message.body,
            "Attributes": system,
        }
        if message.attributes:
            found["MessageAttributes"] = message.attributes
        return found

    def _held(self, queue: Queue, entry: dict[str, Any]) -> Message:
        message = queue.by_receipt.get(entry.get("ReceiptHandle", ""))
        if message is None or message.gone:
            raise ServiceError("ReceiptHandleIsInvalid")
        return message

    def _delete(self, queue: Queue, entry: dict[str, Any]) -> None:
        message = queue.by_receipt.get(entry.get("ReceiptHandle", ""))
        if message is not None:
            queue.remove(message)
        elif entry.get("ReceiptHandle") == "none":
            raise ServiceError("ReceiptHandleIsInvalid")

    def _change(self, queue: Queue, entry: dict[str, Any]) -> None:
        message = self._held(queue, entry)
        if not message.in_flight:
            raise ServiceError("MessageNotInflight")
        seconds = float(entry.get("VisibilityTimeout") or 0)
        if time.time() + seconds > message.last_received + 43_200:
            raise ServiceError("InvalidParameterValue", "beyond 12 hours")
        if seconds:
            message.visible_at = time.time() + seconds
            heapq.heappush(queue.hidden, (message.visible_at, next(queue.sequence), message))
            queue.schedule()
        else:
            queue.put(message, 0, back=True)

    def do_DeleteMessage(self, request: dict[str, Any]) -> None:
        self._delete(self.by_url(request), request)

    def do_DeleteMessageBatch(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._batch(request, self._delete)

    def do_ChangeMessageVisibility(self, request: dict[str, Any]) -> None:
        self._change(self.by_url(request), request)

    def do_ChangeMessageVisibilityBatch(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._batch(request, self._change)

    # -- HTTP

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")
                _, path, _ = lines[0].split(" ", 2)
                headers = {}
                for line in lines[1:]:
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                if headers.get("expect", "").lower() == "100-continue":
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = await reader.readexactly(int(headers.get("content-length") or 0))
                status, payload = await self._answer(path, headers, body)
                answer = (
                    b"HTTP/1.1 %d X\r\nContent-Type: application/x-amz-json-1.0\r\n"
                    b"x-amzn-RequestId: %s\r\nContent-Length: %d\r\n\r\n"
                    % (status, uuid.uuid4().hex.encode(), len(payload))
                    + payload
                )
                operation = headers.get("x-amz-target", "").rpartition(".")[2]
                if operation:
                    self.bytes[operation] += len(head) + len(body) + len(answer)
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        parts = urlsplit(path)
        if parts.path == "/_state":
            state = {
                "calls": self.calls,
                "bytes": self.bytes,
                "queues": {n: q.depth() for n, q in self.queues.items()},
            }
            return 200, json.dumps(state).encode()
        if parts.path == "/_reset":
            self.calls.clear()
            self.bytes.clear()
            return 200, b"{}"
        if parts.path == "/_latency":
            self.latency = float(parse_qs(parts.query)["ms"][0]) / 1_000
            return 200, b"{}"
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        try:
            answer = await self.call(operation, json.loads(body or b"{}"))
            return 200, json.dumps(answer).encode()
        except ServiceError as error:
            kind = error.code.rpartition(".")[2]
            if kind == "NonExistentQueue":
                kind = "QueueDoesNotExist"
            return error.status, json.dumps(
                {"__type": f"com.amazonaws.sqs#{kind}", "message": str(error)}
            ).encode()


async def serve_forever(server: Server, port: int) -> None:
    """Serve until cancelled; prints the URL first."""
    listening = await asyncio.start_server(server.serve, "127.0.0.1", port, limit=2**22)
    server.base = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    print(server.base, flush=True)
    async with listening:
        await listening.serve_forever()


def main() -> None:
    """Parse arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds a call")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve_forever(Server(arguments.latency / 1_000), arguments.port))


if __name__ == "__main__":
    main()
