"""Messages that must be copies, and what receives charge, with real workers."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from support.sqs_lab import Lab, message
from support.waiting import wait_for

#: How a sender names group and deduplication id in the message itself; besides, SQS gets both.
SENDERS: list[dict[str, Any]] = [
    {"headers": {"MessageGroupId": "g", "MessageDeduplicationId": "d"}},
    {"properties": {"MessageGroupId": "g", "MessageDeduplicationId": "d"}},
    {"headers": {"MessageDeduplicationId": "d"}},
    {"headers": {"MessageGroupId": "g"}},
    {},  # by `sealwax-group`, which is taken out of the message when it is sent
]
WAYS = ["arguments", "keywords", "option", "headers", "quiet", "stock"]


def test_a_copy_keeps_its_group_and_is_new_to_sqs(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(fifo=True)
    expected: dict[str, str] = {}
    for sender in SENDERS:
        for way in WAYS:
            group, once = f"group-{len(expected)}", uuid.uuid4().hex
            names = {"g": group, "d": once}
            said = {
                place: {name: names[value] for name, value in values.items()}
                for place, values in sender.items()
            }
            body = message("copied", way, 0, queue=lab.queue, **said)
            lab.put(body, MessageGroupId=group, MessageDeduplicationId=once)
            expected[group] = way
    lab.start_worker()
    wait_for(lambda: len(lab.notes("copied")) >= 3 * len(expected) and lab.empty(), seconds=120)
    for group, way in expected.items():
        notes = [note for note in lab.notes("copied") if note["group"] == group]
        assert [(note["step"], note["how"]) for note in notes] == [(n, way) for n in range(3)]
        assert len({note["id"] for note in notes}) == 1
    assert lab.dead_count() == 0


#: What attempts do, r: ask for another (3 of them allowed), c: die (the third is the last).
STORIES = {
    "rrrc": None,
    "ccrrr": None,
    "rcrcr": None,
    "crrrc": None,
    "rrrr": "exhausted",
    "crrrr": "exhausted",
    "ccc": "crashed",
    "rcrcrc": "crashed",
}


@pytest.mark.long
@pytest.mark.parametrize("fifo", [False, True])
def test_crashes_and_retries_are_counted_apart(make_lab: Callable[..., Lab], fifo: bool) -> None:
    lab = make_lab(fifo=fifo)
    for steps in STORIES:
        more = {"MessageGroupId": steps} if fifo else {}
        lab.put(message("story", steps, queue=lab.queue), **more)
    # Patient: an answer that comes too late on a busy machine would send a copy twice.
    lab.start_worker(concurrency=2, read_timeout=60, send_timeout=120, lease=120)
    dead = sum(reason is not None for reason in STORIES.values())
    wait_for(
        lambda: (
            lab.dead_count() == dead and lab.has_notes("ended", len(STORIES) - dead) and lab.empty()
        ),
        seconds=180,
    )
    letters = {json.loads(json.loads(each["body"])["body"])[0][0]: each for each in lab.letters()}
    assert {steps: letters.get(steps, {}).get("reason") for steps in STORIES} == STORIES
    assert {note["steps"] for note in lab.notes("ended")} == set(STORIES) - set(letters)
    for steps in STORIES:
        notes = [note for note in lab.notes("story") if note["steps"] == steps]
        assert [note["retries"] for note in notes] == [
            steps[:attempt].count("r") for attempt in range(len(notes))
        ]
        assert [note["receives"] for note in notes] == list(range(1, len(notes) + 1))
    for letter in letters.values():
        assert "sealwax-carried" not in letter["body"]  # a replay begins anew


@pytest.mark.long
def test_three_deploys_before_the_first_attempt_charge_nothing(lab: Lab) -> None:
    statuses = [lab.folder / f"status-{number}.json" for number in range(3)]
    workers = []

    def start(number: int) -> None:
        """Start a worker that runs one task for long, and has room for one that waits."""
        lab.send("sleep", 300)
        options = {"worker_prefetch_multiplier": 2}
        status = str(statuses[number])
        workers.append(lab.start_worker(concurrency=1, conf=options, liveness_file=status))
        wait_for(lambda: lab.has_notes("start", number + 1))

    def holds(number: int) -> bool:
        """Whether a worker has received the other message too."""
        lab.status_path = statuses[number]
        return lab.status().get("counters", {}).get("received") == 2

    start(0)
    lab.send("again", 3)
    for number in range(3):
        wait_for(partial(holds, number))
        if number < 2:
            start(number + 1)
        workers[number].send_signal(signal.SIGTERM)
    wait_for(lambda: lab.depth() == (1, 3))
    assert not lab.notes("again")
    lab.start_worker(concurrency=1)
    wait_for(lambda: lab.has_notes("again", 4), seconds=60)
    wait_for(lambda: lab.depth() == (0, 3))
    assert [(note["retries"], note["receives"]) for note in lab.notes("again")] == [
        (0, 4), (1, 5), (2, 6), (3, 7),
    ]  # fmt: skip
    assert lab.dead_count() == 0


@pytest.mark.long
def test_an_attempt_that_a_signal_cuts_off_is_charged_nothing(lab: Lab) -> None:
    lab.send("sleep", 300)
    for cut in range(1, 3):
        # No long poll, which would get the message once more and die with it.
        worker = lab.start_worker(concurrency=1, wait_time=0)
        wait_for(partial(lab.has_notes, "start", cut), seconds=60)
        worker.send_signal(signal.SIGQUIT)
        worker.wait(60)
    lab.start_worker(concurrency=1)
    wait_for(lambda: lab.has_notes("start", 3), seconds=60)
    assert [note["retries"] for note in lab.notes("start")] == [0, 0, 0]
    assert lab.dead_count() == 0
