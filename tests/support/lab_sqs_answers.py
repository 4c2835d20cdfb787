"""SQS's ways of answering, put upon an emulator's: what `bench/sqs_server.py` does by itself.

Receives are short, messages of standard queues come twice and in another order, counts are
late and too small, and FIFO queues refuse receipts after their lease. A second delivery has
a receipt of its own, which the emulator never sees.
"""

from __future__ import annotations

import itertools
import random
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2] / "bench"))
from sqs_modes import Modes

__all__ = ["EXPIRED", "SqsAnswers", "SqsRefusal"]

#: Asks the emulator.
Asked = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]

EXPIRED = "The receipt handle has expired"
#: Begins the receipts of second deliveries.
_COPY = "second-delivery-"
#: Seconds of a queue whose receives name none; AWS's default.
_VISIBILITY = 30.0
#: Receipts of FIFO queues that are remembered at most.
_RECEIPTS = 20_000


class SqsRefusal(Exception):
    """SQS's answer to a call that it refuses."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class _Copy:
    """A message that comes once more."""

    queue: str
    message: dict[str, Any]
    visible_at: float


class SqsAnswers:
    """The answers to one emulator's callers; `clock` in seconds."""

    def __init__(
        self, modes: Modes, seed: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._modes = modes
        self._clock = clock
        self._dice = random.Random(seed)
        self._numbers = itertools.count(1)
        self._copies: dict[str, _Copy] = {}
        #: Of FIFO queues, by receipt: when its lease ends.
        self._leases: dict[str, float] = {}

    async def answer(self, operation: str, request: dict[str, Any], ask: Asked) -> dict[str, Any]:
        """Return the answer to a call.

        Raises
        ------
        SqsRefusal
        """
        queue = str(request.get("QueueUrl", "")).rpartition("/")[2]
        if operation == "ReceiveMessage":
            return await self._receive(queue, request, ask)
        if operation in ("DeleteMessage", "ChangeMessageVisibility"):
            return await self._one(queue, request, ask)
        if operation in ("DeleteMessageBatch", "ChangeMessageVisibilityBatch"):
            return await self._batch(queue, request, ask)
        if operation in ("PurgeQueue", "DeleteQueue"):
            self._copies = {r: copy for r, copy in self._copies.items() if copy.queue != queue}
        answer = await ask(request)
        if operation == "GetQueueAttributes":
            self._count(queue, answer.get("Attributes", {}))
        return answer

    # -- receives

    async def _receive(self, queue: str, request: dict[str, Any], ask: Asked) -> dict[str, Any]:
        fifo = queue.endswith(".fifo")
        most = self._modes.most(int(request.get("MaxNumberOfMessages") or 1))
        asked = request.get("VisibilityTimeout")
        seconds = _VISIBILITY if asked is None else float(asked)
        again = self._again(queue, most, seconds)
        request = request | {"MaxNumberOfMessages": most - len(again)}
        if again:
            request["WaitTimeSeconds"] = 0
        answer = await ask(request) if len(again) < most else {}
        began = self._clock()
        messages: list[dict[str, Any]] = list(answer.get("Messages") or [])
        for message in messages:
            if fifo:
                if asked is not None:
                    self._lease(message["ReceiptHandle"], began + seconds)
            elif self._modes.twice():
                self._copies[self._receipt()] = _Copy(queue, message, began)
        messages += again
        if not fifo and "disorder" in self._modes.names:
            self._dice.shuffle(messages)
        return answer | {"Messages": messages} if messages else answer

    def _again(self, queue: str, most: int, seconds: float) -> list[dict[str, Any]]:
        """Return second deliveries that are due, each with a new receipt."""
        now = self._clock()
        due = [r for r, c in self._copies.items() if c.queue == queue and c.visible_at <= now]
        found = []
        for receipt in due[:most]:
            copy, new = self._copies.pop(receipt), self._receipt()
            copy.visible_at = now + seconds
            self._copies[new] = copy
            system = dict(copy.message.get("Attributes") or {})
            if "ApproximateReceiveCount" in system:
                system["ApproximateReceiveCount"] = str(int(system["ApproximateReceiveCount"]) + 1)
            copy.message = copy.message | {"Attributes": system} if system else copy.message
            found.append(copy.message | {"ReceiptHandle": new})
        return found

    def _receipt(self) -> str:
        return f"{_COPY}{next(self._numbers)}"

    def _lease(self, receipt: str, until: float) -> None:
        if not self._modes.expires():
            return
        self._leases[receipt] = until
        while len(self._leases) > _RECEIPTS:
            del self._leases[next(iter(self._leases))]

    # -- what is done with receipts

    async def _one(self, queue: str, request: dict[str, Any], ask: Asked) -> dict[str, Any]:
        receipt = request.get("ReceiptHandle", "")
        if self._own(receipt):
            self._settle(request)
            return {}
        if self._expired(receipt):
            raise SqsRefusal("InvalidParameterValue", EXPIRED)
        answer = await ask(request)
        self._renewed(request)
        return answer

    async def _batch(self, queue: str, request: dict[str, Any], ask: Asked) -> dict[str, Any]:
        passed, done, failed = [], [], []
        for entry in request.get("Entries", []):
            receipt = entry.get("ReceiptHandle", "")
            if self._own(receipt):
                self._settle(entry)
                done.append({"Id": entry["Id"]})
            elif self._expired(receipt):
                failed.append(
                    {
                        "Id": entry["Id"], "SenderFault": True,
                        "Code": "ReceiptHandleIsInvalid", "Message": EXPIRED,
                    }
                )  # fmt: skip
            else:
                passed.append(entry)
        if not done and not failed:
            answer = await ask(request)
        else:
            answer = await ask(request | {"Entries": passed}) if passed else {}
        succeeded = [*answer.get("Successful", []), *done]
        ids = {each["Id"] for each in succeeded}
        for entry in passed:
            if entry["Id"] in ids:
                self._renewed(entry)
        return answer | {
            "Successful": succeeded,
            "Failed": [*answer.get("Failed", []), *failed],
        }

    def _own(self, receipt: str) -> bool:
        return receipt.startswith(_COPY)

    def _settle(self, entry: dict[str, Any]) -> None:
        """Do with a second delivery what was asked; an old receipt does nothing."""
        copy = self._copies.get(entry["ReceiptHandle"])
        if copy is None:
            return
        if "VisibilityTimeout" in entry:
            copy.visible_at = self._clock() + float(entry["VisibilityTimeout"] or 0)
        else:
            del self._copies[entry["ReceiptHandle"]]

    def _expired(self, receipt: str) -> bool:
        until = self._leases.get(receipt)
        return until is not None and until <= self._clock()

    def _renewed(self, entry: dict[str, Any]) -> None:
        if entry.get("ReceiptHandle") in self._leases and "VisibilityTimeout" in entry:
            self._lease(
                entry["ReceiptHandle"], self._clock() + float(entry["VisibilityTimeout"] or 0)
            )

    # -- counts

    def _count(self, queue: str, attributes: dict[str, Any]) -> None:
        names = "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"
        now = int(attributes.get(names[0], 0)), int(attributes.get(names[1], 0))
        for name, said in zip(names, self._modes.depth(queue, now), strict=True):
            if name in attributes:
                attributes[name] = str(said)
