"""Each mode of the SQS server does what it says, and nothing of it happens without."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[3] / "bench"))
import sqs_modes
from sqs_modes import IN_FLIGHT, MODES, SPREAD, Modes
from sqs_queue import ServiceError
from sqs_server import Server

EVERY = set(MODES)


class Played:
    """One queue of a server without HTTP."""

    def __init__(self, *modes: str, fifo: bool = False, seed: int = 1) -> None:
        self.server = Server(0.0, Modes(set(modes), seed))
        self.name = "q.fifo" if fifo else "q"
        self.server.do_CreateQueue({"QueueName": self.name, "Attributes": {}})

    async def call(self, operation: str, **fields: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self.server.call(
            operation, {"QueueUrl": f"/{self.name}", **fields}
        )
        return answer

    async def send(self, count: int) -> None:
        for number in range(count):
            more = {"MessageGroupId": "g"} if self.name.endswith(".fifo") else {}
            await self.call("SendMessage", MessageBody=str(number), **more)

    async def receive(self, most: int = 10, seconds: float = 30, **more: Any) -> list[Any]:
        fields = {"MaxNumberOfMessages": most, "VisibilityTimeout": seconds, **more}
        found: list[Any] = (await self.call("ReceiveMessage", **fields)).get("Messages", [])
        return found

    async def drain(self) -> list[str]:
        """Receive and delete until nothing is there; return the bodies as they came."""
        bodies: list[str] = []
        while messages := await self.receive():
            for message in messages:
                bodies.append(message["Body"])
                await self.call("DeleteMessage", ReceiptHandle=message["ReceiptHandle"])
        return bodies

    async def depth(self) -> tuple[int, int]:
        found = (await self.call("GetQueueAttributes"))["Attributes"]
        return (
            int(found["ApproximateNumberOfMessages"]),
            int(found["ApproximateNumberOfMessagesNotVisible"]),
        )


def play(steps: Coroutine[Any, Any, None]) -> None:
    asyncio.run(steps)


def test_without_modes_all_is_full_once_ordered_and_exact() -> None:
    async def steps() -> None:
        queue = Played()
        await queue.send(200)
        assert await queue.depth() == (200, 0)
        assert len(await queue.receive(seconds=0)) == 10
        # What was given back stands behind the others, as it did before.
        bodies = await queue.drain()
        assert Counter(bodies) == Counter(map(str, range(200)))
        assert bodies[:190] == [str(number) for number in range(10, 200)]

    play(steps())


def test_a_mode_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="no such mode: shirt"):
        Modes({"short", "shirt"})


@pytest.mark.parametrize("mode", ["short", "duplicates", "disorder"])
def test_the_same_seed_does_the_same(mode: str) -> None:
    seen: list[list[list[str]]] = []

    async def steps(seed: int) -> None:
        queue = Played(mode, seed=seed)
        await queue.send(100)
        seen.append([[m["Body"] for m in await queue.receive()] for _ in range(12)])

    for seed in (7, 7, 8):
        play(steps(seed))
    assert seen[0] == seen[1] != seen[2]


def test_short_receives_bring_one_to_all_that_is_asked_for() -> None:
    async def steps() -> None:
        queue = Played("short")
        await queue.send(3_000)
        counts = Counter([len(await queue.receive()) for _ in range(400)])
        assert set(counts) == set(range(1, 11))
        assert all(count > 15 for count in counts.values())
        assert {len(await queue.receive(3)) for _ in range(40)} == {1, 2, 3}

    play(steps())


def test_a_standard_queues_messages_come_twice_though_deleted() -> None:
    async def steps() -> None:
        queue = Played("duplicates")
        await queue.send(500)
        found = Counter(await queue.drain())
        assert len(found) == 500
        again = sum(count > 1 for count in found.values())
        assert 25 < again < 100
        assert await queue.depth() == (0, 0)

    play(steps())


def test_a_second_delivery_has_the_messages_id_and_its_own_receipt() -> None:
    async def steps() -> None:
        queue = Played("duplicates")
        await queue.send(100)
        messages = [m for _ in range(30) for m in await queue.receive()]
        by_id: dict[str, set[str]] = {}
        for message in messages:
            by_id.setdefault(message["MessageId"], set()).add(message["ReceiptHandle"])
        assert len(by_id) == 100
        assert len({r for receipts in by_id.values() for r in receipts}) == len(messages) > 100

    play(steps())


def test_disorder_reaches_so_far_and_loses_nothing() -> None:
    async def steps() -> None:
        queue = Played("disorder")
        await queue.send(300)
        bodies = [int(body) for body in await queue.drain()]
        assert sorted(bodies) == list(range(300)) != bodies
        assert all(body < place + SPREAD for place, body in enumerate(bodies))
        assert max(body - place for place, body in enumerate(bodies)) > SPREAD / 2

    play(steps())


def test_counts_are_late_and_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(sqs_modes.time, "monotonic", lambda: now[0])
    modes = Modes({"counts"})

    first = modes.depth("q", (100, 40))
    assert 50 <= first[0] <= 100
    assert 20 <= first[1] <= 40
    assert modes.depth("q", (0, 0)) == first, "not late"
    assert modes.depth("other", (0, 0)) == (0, 0), "another queue's"
    now[0] += sqs_modes.LATE + 0.001
    assert modes.depth("q", (0, 0)) == (0, 0)
    shares = []
    for _ in range(50):
        now[0] += sqs_modes.LATE + 0.001
        shares.append(modes.depth("q", (1_000, 0))[0])
    assert min(shares) < 600
    assert max(shares) > 900


async def _refused(call: Coroutine[Any, Any, Any]) -> tuple[str, str]:
    with pytest.raises(ServiceError) as refused:
        await call
    return refused.value.code, str(refused.value)


@pytest.mark.parametrize("modes", [EVERY, set()])
def test_a_fifo_queues_receipt_ends_with_its_lease(modes: set[str]) -> None:
    async def steps() -> None:
        queue = Played(*modes, fifo=True)
        await queue.send(1)
        ((message),) = await queue.receive(seconds=0.05)
        receipt = message["ReceiptHandle"]
        await queue.call("ChangeMessageVisibility", ReceiptHandle=receipt, VisibilityTimeout=0.1)
        await asyncio.sleep(0.2)
        fields = {"ReceiptHandle": receipt, "VisibilityTimeout": 30}
        expired = "InvalidParameterValue", "The receipt handle has expired"
        late = await _refused(queue.call("ChangeMessageVisibility", **fields))
        assert late == (expired if modes else ("MessageNotInflight", "MessageNotInflight"))
        if not modes:
            await queue.call("DeleteMessage", ReceiptHandle=receipt)
            assert not await queue.receive()
            return
        assert await _refused(queue.call("DeleteMessage", ReceiptHandle=receipt)) == expired
        ((again),) = await queue.receive()
        assert await _refused(queue.call("DeleteMessage", ReceiptHandle=receipt)) == expired
        batch = await queue.call(
            "DeleteMessageBatch",
            Entries=[
                {"Id": "old", "ReceiptHandle": receipt},
                {"Id": "new", "ReceiptHandle": again["ReceiptHandle"]},
            ],
        )
        assert [each["Id"] for each in batch["Successful"]] == ["new"]
        ((failed),) = batch["Failed"]
        assert (failed["Id"], failed["Code"]) == ("old", "ReceiptHandleIsInvalid")

    play(steps())


def test_a_standard_queues_receipt_deletes_after_its_lease() -> None:
    async def steps() -> None:
        queue = Played("expired")
        await queue.send(1)
        ((message),) = await queue.receive(seconds=0.05)
        await asyncio.sleep(0.1)
        await queue.call("DeleteMessage", ReceiptHandle=message["ReceiptHandle"])
        assert not await queue.receive()

    play(steps())


@pytest.mark.parametrize("fifo", [False, True])
def test_no_more_comes_while_much_is_in_flight(fifo: bool) -> None:
    async def steps() -> None:
        queue = Played("overlimit", fifo=fifo)
        for number in range(IN_FLIGHT + 1):
            more = {"MessageGroupId": str(number)} if fifo else {}
            await queue.call("SendMessage", MessageBody=str(number), **more)
        held = [m for _ in range(IN_FLIGHT - 1) for m in await queue.receive(1)]
        held += await queue.receive(1)
        assert len(held) == IN_FLIGHT
        if fifo:
            assert await queue.receive(1) == []
        else:
            assert (await _refused(queue.receive(1)))[0] == "OverLimit"
        assert await queue.receive(1, WaitTimeSeconds=0.05) == []
        waits = asyncio.ensure_future(queue.receive(1, WaitTimeSeconds=30))
        await asyncio.sleep(0)
        await queue.call("DeleteMessage", ReceiptHandle=held[0]["ReceiptHandle"])
        assert len(await waits) == 1

    play(steps())


def test_a_fifo_receive_of_the_same_id_brings_the_same_while_it_is_held() -> None:
    async def steps() -> None:
        queue = Played(fifo=True)
        await queue.send(2)
        first = await queue.receive(ReceiveRequestAttemptId="a")
        again = await queue.receive(ReceiveRequestAttemptId="a")
        assert again == first
        assert len(first) == 2
        assert await queue.receive(ReceiveRequestAttemptId="b") == []
        await queue.call("DeleteMessage", ReceiptHandle=first[0]["ReceiptHandle"])
        assert await queue.receive(ReceiveRequestAttemptId="a") == []

    play(steps())
