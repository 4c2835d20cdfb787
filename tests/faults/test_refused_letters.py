"""Dead letters that the dead-letter queue does not take: never lost, nobody else's trouble."""

from __future__ import annotations

import json
from typing import Any

from support.sqs_lab import Lab
from support.waiting import wait_for


def text(value: str) -> dict[str, Any]:
    return {"DataType": "String", "StringValue": value}


def shrink(lab: Lab, size: int) -> None:
    """Make the dead-letter queue's messages smaller than the queue's."""
    lab.sqs.set_queue_attributes(
        QueueUrl=lab.dead_url, Attributes={"MaximumMessageSize": str(size)}
    )


def test_a_letter_that_is_refused_goes_bare_and_then_to_the_archive(lab: Lab) -> None:
    shrink(lab, 4_096)
    lab.put("x" * 2_000, MessageAttributes={"mine": text("y" * 3_000)})
    lab.put("z" * 5_000, MessageAttributes={"mine": text("kept")})
    ten = {f"a{number}": text("v") for number in range(10)}
    lab.put("full", MessageAttributes=ten)
    lab.send("ok", "neighbour")
    worker = lab.start_worker(variables={"LAB_ARCHIVE": "yes"}, counters_every=1)
    wait_for(lambda: lab.dead_count() == 2 and lab.notes("archived") and lab.empty(), seconds=30)
    (archived,) = lab.notes("archived")
    assert archived["body"] == "z" * 5_000
    assert json.loads(archived["reason"])["reason"] == "malformed"
    assert archived["code"] == "InvalidParameterValue"
    letters = {letter["body"]: letter for letter in lab.letters()}
    assert letters["x" * 2_000]["dropped_attributes"] == ["mine"]
    assert len(letters["full"]["dropped_attributes"]) == 1
    assert len(lab.notes("ok")) == 1
    assert worker.poll() is None
    wait_for(lambda: "dead_lettered.malformed=3" in lab.log())
    line = next(x for x in lab.log().splitlines()[::-1] if "Transport counters: " in x)
    for name in ("receives=", "batches.send=", "entries.delete=", "archived=1", "acknowledged=1"):
        assert name in line


def test_a_letter_that_nobody_takes_stays_in_its_queue(lab: Lab) -> None:
    shrink(lab, 1_024)
    lab.put("z" * 5_000)
    lab.send("ok", "neighbour")
    worker = lab.start_worker(lease=2)
    wait_for(lambda: "will not take message" in lab.log() and lab.notes("ok"))
    wait_for(lambda: sum(lab.depth()) == 1)
    assert lab.dead_count() == 0
    shrink(lab, 1_048_576)
    wait_for(lambda: lab.dead_count() == 1 and lab.empty(), seconds=60)
    assert worker.poll() is None


def test_a_message_that_leaves_no_room_for_a_reason_goes_as_it_is(lab: Lab) -> None:
    shrink(lab, 4_096)
    lab.put("z" * 4_000, MessageAttributes={"mine": text("dropped")})
    lab.send("ok", "neighbour")
    worker = lab.start_worker()
    wait_for(lambda: lab.dead_count() == 1 and lab.empty() and lab.notes("ok"), seconds=30)
    (letter,) = lab.sqs.receive_message(QueueUrl=lab.dead_url, MessageAttributeNames=["All"])[
        "Messages"
    ]
    assert (letter["Body"], letter.get("MessageAttributes")) == ("z" * 4_000, None)
    assert worker.poll() is None


def test_each_letter_is_signed_as_it_goes_out_even_to_the_archive(lab: Lab) -> None:
    shrink(lab, 4_096)
    lab.put("x" * 2_000, MessageAttributes={"mine": text("y" * 3_000)})
    lab.put("z" * 5_000)
    lab.start_worker(variables={"LAB_ARCHIVE": "yes", "LAB_SIGN": "yes"})
    wait_for(lambda: lab.dead_count() == 1 and lab.notes("archived") and lab.empty(), seconds=30)
    (archived,) = lab.notes("archived")
    assert json.loads(archived["reason"])["sig"] == f"{lab.queue} 5000 malformed"
    (letter,) = lab.letters()
    assert letter["sig"] == f"{lab.queue} 2000 malformed"
    assert letter["dropped_attributes"] == ["mine"]
    assert "cannot be dead-lettered yet" in lab.log()
