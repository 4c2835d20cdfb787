"""Whose turn it is among the received requests."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import TaskRevokedError
from kombu.asynchronous.semaphore import LaxBoundedSemaphore

from sealwax.transport.celery.fair_queue import FairQueue, PoolSlots, install_fair_queue
from sealwax.transport.celery.shares import SlotShares


@dataclass
class Request:
    mark: str
    name: str = "task"
    count: int = 1
    group: str | None = None
    released: bool = False
    future: Future[None] = field(default_factory=Future)
    handed: list[str] = field(default_factory=list)

    @property
    def delivery(self) -> Any:
        return SimpleNamespace(receive_count=self.count, group=self.group)

    def execute_using_pool(self, pool: Any) -> Any:
        if self.mark.startswith("revoked"):
            raise TaskRevokedError(self.mark)
        pool.handed.append(self.mark)
        return SimpleNamespace(f=self.future)


def order(*requests: Request) -> str:
    """Return the order in which a pool of one takes what waits behind another."""
    pool = SimpleNamespace(handed=[])
    semaphore = LaxBoundedSemaphore(1)
    turns = FairQueue(pool, semaphore)
    turns.take(Request("0"))
    for request in requests:
        turns.take(request)
    for _ in requests:
        semaphore.release()
    return "".join(pool.handed[1:])


def again(marks: str) -> list[Request]:
    return [Request(mark, count=2) for mark in marks]


def first(marks: str, group: str | None = None, task: str = "task") -> list[Request]:
    return [Request(mark, task, group=group) for mark in marks]


@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        (first("abc"), "abc"),
        (again("ABC"), "ABC"),
        # A burst of repetitions is overtaken by what comes for the first time…
        (again("ABCDEF") + first("ab"), "abABCDEF"),
        # …which does not keep them waiting for ever.
        (again("ABC") + first("abcdefghij"), "abcAdefBghiCj"),
        # Fair groups and tasks take turns.
        (first("abcd", "one") + first("xy", "two") + first("n"), "axnbycd"),
        (first("abcd") + first("x", task="other"), "axbcd"),
    ],
)
def test_whose_turn_it_is(requests: list[Request], expected: str) -> None:
    assert order(*requests) == expected


@pytest.fixture
def threads() -> tuple[Any, Callable[[Request], None]]:
    pool = SimpleNamespace(executor=object(), limit=2, uses_semaphore=False, handed=[])
    consumer = SimpleNamespace(
        controller=SimpleNamespace(semaphore=None), pool=pool, on_task_request=None
    )
    install_fair_queue(consumer)
    return pool, consumer.on_task_request  # type: ignore[return-value]


def test_a_threads_pool_is_handed_no_more_than_it_runs(threads: Any) -> None:
    pool, take = threads
    running = first("ab")
    for request in [*running, *again("ABC"), *first("c")]:
        take(request)
    assert pool.handed == ["a", "b"]
    running[0].future.set_result(None)
    assert pool.handed == ["a", "b", "c"]
    running[1].future.cancel()
    assert pool.handed == ["a", "b", "c", "A"]


def test_what_was_released_uses_no_thread(threads: Any) -> None:
    pool, take = threads
    running = first("ab")
    waiting = [Request(str(number)) for number in range(3_000)]
    for request in [*running, Request("revoked"), *waiting, Request("last")]:
        take(request)
    for request in waiting:
        request.released = True
    running[0].future.set_result(None)
    assert pool.handed == ["a", "b", "last"]
    running[1].future.set_result(None)
    for name in "cd":
        take(Request(name))
    assert pool.handed == ["a", "b", "last", "c"]


def test_a_request_of_another_class_is_handed_over(threads: Any) -> None:
    _, take = threads
    handed: list[str] = []
    request = SimpleNamespace(
        name="stock",
        execute_using_pool=lambda _: handed.append("stock") or SimpleNamespace(f=Future()),
    )
    take(request)
    assert handed == ["stock"]


def test_a_lost_connection_takes_its_requests_along() -> None:
    pool = SimpleNamespace(uses_semaphore=True, handed=[])
    controller = SimpleNamespace(semaphore=LaxBoundedSemaphore(1), pool_putlocks=True)
    consumer: Any = SimpleNamespace(controller=controller, pool=pool, on_task_request=None)
    install_fair_queue(consumer)
    for request in first("abc"):
        consumer.on_task_request(request)
    controller.semaphore.clear()
    for request in first("xy"):
        consumer.on_task_request(request)
    controller.semaphore.release()
    assert pool.handed == ["a", "x", "y"]


def test_a_slot_that_a_request_does_not_use_is_the_next_ones() -> None:
    pool, semaphore = SimpleNamespace(handed=[]), LaxBoundedSemaphore(1)
    turns = FairQueue(pool, semaphore)
    for request in [*first("a"), Request("revoked"), Request("revoked too"), *first("bc")]:
        turns.take(request)
    semaphore.release()
    assert pool.handed == ["a", "b"]
    semaphore.release()
    assert pool.handed == ["a", "b", "c"]


def test_slots_are_not_lost_by_callbacks_that_need_none() -> None:
    slots = PoolSlots(1)
    used: list[str] = []
    slots.acquire(lambda: False)
    slots.acquire(lambda: not used.append("a"))
    slots.acquire(lambda: not used.append("b"))
    assert used == ["a"]
    slots.release()
    assert used == ["a", "b"]


@dataclass
class Owned(Request):
    """A request as ours is: it says when it has ended, and can be given back."""

    tenant: str | None = None
    ended: Any = None
    away: float | None = None

    def give_back(self, seconds: float) -> None:
        self.away = seconds


@dataclass
class Bench:
    """A pool of `slots`, whose semaphore is Celery's."""

    slots: int
    shares: SlotShares
    handed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.semaphore = LaxBoundedSemaphore(self.slots)
        self.queue = FairQueue(self, self.semaphore, self.shares)

    def take(self, marks: str, **fields: Any) -> list[Owned]:
        requests = [Owned(mark, **fields) for mark in marks]
        for request in requests:
            self.queue.take(request)
        return requests

    def end(self, request: Owned, *, slot_first: bool) -> None:
        for step in [self.semaphore.release, lambda: request.ended(request)][
            :: 1 if slot_first else -1
        ]:
            step()


def test_a_tenant_at_its_share_waits_and_the_others_have_the_rest() -> None:
    bench = Bench(4, SlotShares(4, per_tenant=2, prefetch=4))
    loud = bench.take("ABCDEF", tenant="loud")
    assert bench.handed == ["A", "B"]
    assert bench.semaphore.value == 2
    calm = bench.take("abc", tenant="calm")
    assert bench.handed == ["A", "B", "a", "b"]
    bench.end(calm[0], slot_first=True)
    assert bench.handed[4:] == ["c"]
    for number, request in enumerate(loud[:4]):
        bench.end(request, slot_first=number % 2 == 0)
    assert bench.handed[5:] == ["C", "D", "E", "F"]
    for request in [*loud[4:], *calm[1:]]:
        bench.end(request, slot_first=False)
    assert bench.semaphore.value == 4


def test_what_exceeds_the_share_of_the_prefetch_is_given_back_for_a_while() -> None:
    bench = Bench(4, SlotShares(4, per_tenant=2, prefetch=2))
    requests = bench.take("ABCDEF", tenant="loud")
    again = bench.take("G", tenant="loud", count=30)
    assert [each.away is not None for each in requests] == [False] * 4 + [True] * 2
    assert all(1 <= (each.away or 0) <= 2 for each in requests[4:])
    assert 30 <= (again[0].away or 0) <= 60
    bench.take("a", tenant="calm")
    assert bench.handed == ["A", "B", "a"]


def test_a_share_whose_requests_are_gone_is_free_again() -> None:
    bench = Bench(2, SlotShares(2, per_tenant=1, prefetch=4))
    first, _ = bench.take("AB", tenant="loud")
    bench.semaphore.release()  # and nobody has said that it ended
    assert bench.handed == ["A"]
    first.released = True
    bench.take("C", tenant="loud")
    assert bench.handed == ["A", "B"]


def test_one_slot_is_asked_for_at_a_time() -> None:
    bench = Bench(1, SlotShares(1, prefetch=100))
    first, *_ = bench.take("x" * 50, tenant="loud")
    assert len(bench.semaphore._waiting) == 1
    bench.end(first, slot_first=True)
    assert (len(bench.handed), len(bench.semaphore._waiting)) == (2, 1)


def test_hundreds_of_slots_are_used_without_depth() -> None:
    bench = Bench(2_000, SlotShares(2_000, per_tenant=1_500, prefetch=4))
    bench.semaphore.value = 0
    bench.take("x" * 2_000, tenant="loud")
    bench.semaphore.value = 1_999
    bench.semaphore.release()
    assert len(bench.handed) == 1_500
    assert bench.semaphore.value == 500


def test_threads_share_their_slots_too() -> None:
    pool = SimpleNamespace(executor=object(), limit=3, uses_semaphore=False, handed=[])
    conf = SimpleNamespace(broker_transport_options={"per_tenant": 2}, worker_prefetch_multiplier=4)
    consumer = SimpleNamespace(
        controller=SimpleNamespace(semaphore=None),
        pool=pool,
        app=SimpleNamespace(conf=conf),
        on_task_request=None,
    )
    install_fair_queue(consumer)
    take: Any = consumer.on_task_request
    loud = [Owned(mark, tenant="loud") for mark in "ABC"]
    for request in [*loud, Owned("a", tenant="calm")]:
        take(request)
    assert pool.handed == ["A", "B", "a"]
    loud[0].future.set_result(None)
    assert pool.handed == ["A", "B", "a", "C"]
