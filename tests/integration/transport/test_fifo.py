"""FIFO queues keep each group's order, whatever fails."""

from __future__ import annotations

import itertools
import signal
from collections import defaultdict
from collections.abc import Callable

import pytest
from support.sqs_lab import Lab, message
from support.waiting import wait_for


@pytest.mark.long
def test_each_group_keeps_its_order_through_failures_and_a_killed_worker(
    make_lab: Callable[..., Lab],
) -> None:
    lab = make_lab(fifo=True)
    keys, each = 10, 12
    for number, key in itertools.product(range(each), range(keys)):
        fails = 1 if (number * keys + key) % 10 == 0 else 0
        lab.put(
            message("keyed", f"k{key}", number, fails, queue=lab.queue), MessageGroupId=f"k{key}"
        )
    first = lab.start_worker(concurrency=2, lease=3)
    wait_for(lambda: len(lab.notes("keyed")) > 20)
    first.send_signal(signal.SIGKILL)
    first.wait(5)
    lab.start_worker(concurrency=2, lease=3)
    wait_for(lab.empty, seconds=60)
    orders = defaultdict(list)
    for note in lab.notes("keyed"):
        orders[note["key"]].append(note["number"])
    for order in orders.values():
        # A killed worker's last may run again; nothing may overtake.
        assert [number for number, _ in itertools.groupby(order)] == list(range(each))
    assert len(orders) == keys
