"""A minimal in-memory SQS for benchmarks and fault tests: quick, deterministic, counting.

Speaks the JSON protocol of the AWS SDKs on 127.0.0.1, with standard and FIFO
queues, visibility, delays, long polls, redrive policies and batch limits; no
authentication. `--latency` adds time to every call, as a network would; `--modes` makes
it as unkind as AWS, see `sqs_modes.py`.

Control: GET /_state gives calls and bytes by operation and queue depths, POST
/_reset forgets the calls, POST /_latency?ms=N changes the latency.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import heapq
import json
import time
import uuid
from collections import Counter
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sqs_modes import MODES, Modes
from sqs_queue import ACCOUNT, Expired, Message, Queue, ServiceError


def _size(entry: dict[str, Any]) -> int:
    size = len(entry["MessageBody"].encode())
    for name, value in (entry.get("MessageAttributes") or {}).items():
        size += len(name) + sum(len(str(part)) for part in value.values())
    return size


class Server:
    """All queues, and the operations on them."""

    def __init__(self, latency: float, modes: Modes | None = None) -> None:
        self.latency = latency
        self.modes = modes or Modes(set())
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
        visible, hidden = self.modes.depth(queue.name, queue.depth())
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
                        "Code": error.entry_code,
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
        most = self.modes.most(most)
        attempt = request.get("ReceiveRequestAttemptId") if queue.fifo else None
        again = queue.again(attempt, float(visibility)) if attempt else None
        if again:
            return {"Messages": [self._received(m) for m in again]}
        if self.modes.full(queue.depth()[1]) and not queue.fifo and time.monotonic() >= until:
            raise ServiceError("OverLimit", status=403)
        found = self._take(queue, most, float(visibility))
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
            found = self._take(queue, most, float(visibility))
        if attempt and found:
            queue.remember(attempt, found)
        if len(found) == most and (queue.ready or queue.fifo):
            queue.wake()
        return {"Messages": [self._received(m) for m in found]} if found else {}

    def _take(self, queue: Queue, most: int, visibility: float) -> list[Message]:
        if self.modes.full(queue.depth()[1]):
            return []
        return queue.take(most, visibility, self.modes, self.by_name)

    def _expired(self, queue: Queue, message: Message) -> None:
        if queue.fifo and self.modes.expires() and not message.in_flight:
            raise Expired

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
            self._expired(queue, message)
            queue.remove(message)
        elif entry.get("ReceiptHandle") in queue.stale and self.modes.expires():
            raise Expired
        elif entry.get("ReceiptHandle") == "none":
            raise ServiceError("ReceiptHandleIsInvalid")

    def _change(self, queue: Queue, entry: dict[str, Any]) -> None:
        message = self._held(queue, entry)
        self._expired(queue, message)
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
    parser.add_argument("--modes", default="", help=f"of {', '.join(MODES)}; by commas")
    parser.add_argument("--seed", type=int, default=1, help="of the modes")
    arguments = parser.parse_args()
    modes = Modes(set(filter(None, arguments.modes.split(","))), arguments.seed)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve_forever(Server(arguments.latency / 1_000, modes), arguments.port))


if __name__ == "__main__":
    main()
