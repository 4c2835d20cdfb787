"""The transport's promises at their full size: minutes each, so outside the quick tests.

`make test-slow` runs them. Small versions of the same stand in
`tests/integration/transport` and beside.
"""

from __future__ import annotations

import itertools
import json
import signal
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from support.fault_proxy import Fault, FaultProxy
from support.sqs_lab import Lab, message
from support.waiting import wait_for

pytestmark = pytest.mark.slow


# -- leases


@pytest.mark.parametrize("lease", [5, 30])
def test_a_task_of_half_a_minute_runs_once_on_a_queue_of_five_seconds(
    make_lab: Callable[..., Lab], lease: int
) -> None:
    lab = make_lab(visibility=5)
    lab.start_worker(concurrency=1, lease=lease, conf={"worker_prefetch_multiplier": 60})
    lab.send("sleep", 30)
    wait_for(lambda: lab.notes("start"))
    lab.send_all([message("ok", number, queue=lab.queue) for number in range(50)])
    wait_for(lambda: lab.depth() == (0, 51))
    wait_for(lambda: len(lab.notes("ok")) >= 50 and lab.empty(), seconds=90)
    assert len(lab.notes("start")) == len(lab.notes("end")) == 1
    assert sorted(note["args"][0] for note in lab.notes("ok")) == list(range(50))
    assert {note["receives"] for note in lab.notes("ok")} == {1}
    assert lab.status()["counters"].get("leases.lost", 0) == 0


def test_a_worker_killed_with_its_children_has_its_task_run_again_within_its_lease(
    lab: Lab,
) -> None:
    worker = lab.start_worker(lease=30)
    lab.send("sleep", 20)
    wait_for(lambda: lab.notes("start"))
    lab.kill(worker)
    killed = time.time()
    lab.start_worker(lease=30)
    wait_for(lambda: len(lab.notes("start")) == 2, seconds=60)
    assert lab.notes("start")[-1]["at"] - killed < 45
    wait_for(lambda: lab.notes("end") and lab.empty(), seconds=60)
    assert len(lab.notes("start")) == 2


# -- trouble with SQS

OUTAGES = {
    "cut-connections": (Fault("cut"), 30),
    "refused-connections": (Fault("refuse"), 30),
    "service-unavailable": (Fault("error", 503, "ServiceUnavailable"), 20),
    "throttling": (Fault("error", 400, "ThrottlingException"), 20),
    "access-denied": (Fault("error", 403, "AccessDenied"), 20),
    "dropped-after-silence": (Fault("stall"), 30),
    "silent-for-ever": (Fault("mute"), 30),
}


@contextmanager
def samples(lab: Lab) -> Iterator[list[dict[str, Any]]]:
    """Look at the worker's status all the time; yield what was seen."""
    seen: list[dict[str, Any]] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.2):
            seen.append(lab.status())

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join(5)


@pytest.mark.parametrize("name", sorted(OUTAGES))
def test_an_outage_is_outlived_and_work_goes_on_soon_after(
    lab: Lab, proxy: FaultProxy, name: str
) -> None:
    fault, seconds = OUTAGES[name]
    wait, read = 5, 5
    worker = lab.start_worker(endpoint=proxy.url, wait_time=wait, read_timeout=read)
    for number in range(20):
        lab.send("ok", number)
    wait_for(lambda: len(lab.notes("ok")) == 20 and lab.empty())
    wait_for(lambda: lab.status().get("ready"))
    with samples(lab) as seen:
        proxy.break_with(Fault(fault.kind, fault.status, fault.code))
        until = time.monotonic() + seconds
        wait_for(lambda: lab.status().get("ready") is False, seconds=seconds)
        time.sleep(max(0.0, until - time.monotonic()))
        assert lab.status()["ready"] is False
        # Sent now, so that the broken poll cannot have taken them along.
        lab.send_all([message("ok", number, queue=lab.queue) for number in range(20, 40)])
        proxy.heal()
        healed = time.time()
        wait_for(lambda: len(lab.notes("ok")) > 20, seconds=wait + read + 15)
        wait_for(lambda: len(lab.notes("ok")) == 40 and lab.empty(), seconds=60)
    assert min(note["at"] for note in lab.notes("ok")[20:]) - healed < wait + read + 5
    assert sorted(note["args"][0] for note in lab.notes("ok")) == list(range(40))
    assert worker.poll() is None
    assert {status["pid"] for status in seen if status} == {worker.pid}
    assert all(status["live"] for status in seen if status)
    wait_for(lambda: lab.status().get("ready"))


# -- children


def test_two_thousand_jobs_with_a_child_for_each_never_hang(lab: Lab) -> None:
    jobs = 2_000
    lab.start_worker("--max-tasks-per-child=1", concurrency=8)
    lab.send_all([message("ok", number, queue=lab.queue) for number in range(jobs)])
    done = 0
    while done < jobs:
        # No total: a child's birth takes what the machine gives. A stall is what must not be.
        wait_for(partial(lab.has_notes, "ok", done + 1), seconds=60, what="another job")
        done = len(lab.notes("ok"))
    wait_for(lab.empty, seconds=60)
    assert sorted(note["args"][0] for note in lab.notes("ok")) == list(range(jobs))
    assert len({note["pid"] for note in lab.notes("ok")}) == jobs


# -- a broken downstream


@pytest.mark.parametrize(("lump", "pause"), [(5, 0.2), (50, 2.0)])
def test_a_downstream_that_always_fails_leaves_other_jobs_their_latency(
    lab: Lab, lump: int, pause: float
) -> None:
    """3,000 jobs of one route come within two minutes and fail for ever; others go on.

    Each is tried five times or so meanwhile: 120 failing attempts a second, of which a worker
    on two cores manages some 250.
    """
    lab.start_worker(concurrency=4, conf={"worker_prefetch_multiplier": 10})

    def others(first: int, seconds: float) -> list[float]:
        until, number = time.monotonic() + seconds, first
        while time.monotonic() < until:
            lab.send("timed", number, time.time())
            number += 1
            time.sleep(0.2)

        def found() -> list[float]:
            return [note["latency"] for note in lab.notes("timed") if note["number"] >= first]

        wait_for(lambda: len(found()) >= number - first, seconds=120)
        return found()

    calm = statistics.median(others(0, 30))
    most: list[int] = []

    def burst() -> None:
        began = time.monotonic()
        for number in range(3_000 // lump):
            time.sleep(max(0.0, began + number * pause - time.monotonic()))
            lab.send_all([message("broken", queue=lab.queue) for _ in range(lump)])
            if number % round(2 / pause) == 0:
                most.append(lab.depth()[1])

    thread = threading.Thread(target=burst, daemon=True)
    thread.start()
    troubled = statistics.median(others(1_000, 3_000 // lump * pause + 5))
    thread.join(120)
    most.append(lab.depth()[1])
    print(f"p50 calm {calm:.4f} s, troubled {troubled:.4f} s; most in flight {max(most)}")
    # The last of the others may still be waiting for its delete.
    wait_for(lambda: sum(lab.depth()) == 3_000)
    assert lab.dead_count() == 0
    assert max(most) <= 3_000 + 40
    assert troubled <= 2 * calm


# -- poison


@pytest.mark.parametrize("kind", ["malformed", "raising"])
def test_poison_among_healthy_messages_makes_one_letter_each(lab: Lab, kind: str) -> None:
    count = 500
    lab.start_worker(concurrency=4, conf={"worker_prefetch_multiplier": 10})
    began = time.time()
    bodies = []
    for number in range(count):
        if kind == "malformed":
            bodies.append(json.dumps({"poison": number}))
        else:
            bodies.append(message("boom", number, queue=lab.queue))
        bodies.append(message("timed", number, began, queue=lab.queue))
    lab.send_all(bodies)
    wait_for(lambda: len(lab.notes("timed")) >= count, seconds=120)
    healthy = max(note["latency"] for note in lab.notes("timed"))
    wait_for(lambda: lab.dead_count() >= count and lab.empty(), seconds=120)
    buried = time.time() - began
    print(
        f"{kind}: {count} healthy ran within {healthy:.1f} s, {count} buried within {buried:.1f} s"
    )
    letters = [letter["body"] for letter in lab.letters()]
    assert len(letters) == len(set(letters)) == count
    assert sorted(note["number"] for note in lab.notes("timed")) == list(range(count))


# -- order


def test_order_is_kept_over_failures_and_a_killed_worker(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(fifo=True)
    keys, each = 20, 50
    for number, key in itertools.product(range(each), range(keys)):
        fails = 1 if (number + key) % 10 == 0 else 0
        lab.put(
            message("keyed", f"k{key}", number, fails, queue=lab.queue), MessageGroupId=f"k{key}"
        )
    first = lab.start_worker(concurrency=2, lease=10)
    lab.start_worker(concurrency=2, lease=10)
    wait_for(lambda: len(lab.notes("keyed")) > 200, seconds=120)
    lab.kill(first)
    killed = time.time()
    wait_for(lab.empty, seconds=300)
    notes = [note for note in lab.notes() if note["event"] in {"keyed", "keyed-failed"}]
    orders = defaultdict(list)
    for note in notes:
        if note["event"] == "keyed":
            orders[note["key"]].append(note["number"])
    # What the killed worker was running may run again; nothing may overtake.
    assert len(orders) == keys
    for order in orders.values():
        assert [number for number, _ in itertools.groupby(order)] == list(range(each))
    failed = {(note["key"], note["number"]) for note in notes if note["event"] == "keyed-failed"}
    assert len(failed) == keys * each // 10
    assert lab.dead_count() == 0
    # Others went on while a key waited for its second attempt, and while the lease of the
    # killed worker's messages ran out.
    found = hindered(notes, killed)
    after = {n["key"] for n in notes if n["event"] == "keyed" and killed < n["at"] < killed + 8}
    span = max(n["at"] for n in notes) - min(n["at"] for n in notes)
    print(f"hindered {found}, {len(after)} keys went on after the kill, {span:.1f} s in all")
    assert found == 0
    assert len(after) >= keys // 2


def hindered(notes: list[dict[str, Any]], killed: float) -> int:
    """Count the waits for a second attempt in which nothing else ran that could have.

    A key could have run if it had more to do and did not wait itself, for its own second
    attempt or for the lease of the killed worker. Fewer than three may be between two
    receives by chance.
    """
    times: dict[Any, list[Any]] = defaultdict(list)
    waits = []
    for note in notes:
        key, at = note["key"], note["at"]
        last, event = times[key][-1] if times[key] else (at, "")
        if event == "keyed-failed" or last < killed < at - 5:
            waits.append((key, last, at))
        times[key].append((at, note["event"]))
    count = 0
    for key, begun, ended in waits:
        waiting = {k for k, first, last in waits if first < ended and last > begun}
        free = {k for k, at in times.items() if at[-1][0] > ended} - waiting
        ran = any(begun < n["at"] < ended and n["key"] != key for n in notes)
        count += len(free) >= 3 and not ran
    return count


# -- rest


def test_an_empty_queue_costs_at_most_eleven_receives_in_three_minutes(
    lab: Lab, proxy: FaultProxy
) -> None:
    lab.start_worker(endpoint=proxy.url)
    wait_for(lambda: proxy.seen["ReceiveMessage"])
    before = proxy.seen["ReceiveMessage"]
    time.sleep(180)
    receives = proxy.seen["ReceiveMessage"] - before
    print(f"{receives} receives in three minutes")
    assert 5 <= receives <= 11


# -- shutdown


def test_sigterm_with_fifty_held_shows_them_all_at_once(lab: Lab) -> None:
    worker = lab.start_worker(concurrency=1, conf={"worker_prefetch_multiplier": 51})
    lab.send("sleep", 20)
    wait_for(lambda: lab.notes("start"))
    lab.send_all([message("ok", number, queue=lab.queue) for number in range(50)])
    wait_for(lambda: lab.depth() == (0, 51))
    worker.send_signal(signal.SIGTERM)
    stopped = time.monotonic()
    wait_for(lambda: lab.depth() == (50, 1), seconds=15)
    assert time.monotonic() - stopped < 3
    assert worker.wait(60) == 0
    assert len(lab.notes("end")) == 1
    assert lab.depth() == (50, 0)
    assert not lab.notes("ok")
    lab.start_worker()
    wait_for(lambda: len(lab.notes("ok")) == 50 and lab.empty(), seconds=60)
