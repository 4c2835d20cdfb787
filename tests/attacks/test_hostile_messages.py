"""Hostile Celery messages die alone: each is set aside, and nothing else happens.

They go to one real worker in batches, with the messages of the tree's own cases
among them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.attacker import digest_of
from support.hostile import CANARY, hostile_messages
from support.waiting import wait_for

CASES = Path(__file__).parents[1] / "data/transport/malformed.json"

#: Decided by the task's contract and its expiry in an app without sealing; here
#: they are strays like the others.
BATCH = 40


def cases() -> dict[str, str]:
    """Return the cases of the transport's tests, with the attacked queue's name in them."""
    texts: dict[str, str] = json.loads(CASES.read_text())
    return {f"case-{name}": text for name, text in texts.items() if text}


def test_each_dies_alone_and_changes_no_job(siege) -> None:
    stack, attacker, victim = siege.stack, siege.attacker, siege.steal()
    texts = hostile_messages(victim.message) | cases()
    assert len(hostile_messages(victim.message)) >= 40
    worker = stack.pid("worker")
    before = {item["id"]["S"]: item for item in stack.items("jobs")}
    kept = stack.items("outbox")
    genuine: list[str] = []
    names = list(texts)
    for start in range(0, len(names), BATCH):
        attacker.put(*(texts[name] for name in names[start : start + BATCH]))
        genuine.append(stack.relay("demo", {"batch": start}))
        assert stack.wait(genuine[-1])["state"] == "succeeded"
    wanted = {digest_of(text): name for name, text in texts.items()}

    def missing() -> set[str]:
        found = attacker.letters()
        return {name for digest, name in wanted.items() if digest not in found}

    wait_for(lambda: not missing(), seconds=60, what="a letter for each hostile message")
    found = attacker.letters()
    reasons = {name: found[digest]["says"]["reason"] for digest, name in wanted.items()}
    assert set(reasons.values()) == {"stray"}, reasons

    # No job has changed, none was made, nothing else was sent or kept for later.
    after = {item["id"]["S"]: item for item in stack.items("jobs")}
    assert {job: item for job, item in after.items() if job not in genuine} == before
    attacker.drained()
    assert stack.items("outbox") == kept
    assert len(attacker.letters()) == len(found)
    assert attacker.received(victim.route) == 0
    # The same process, and no word of a stranger's in its log, down to its last detail.
    assert stack.pid("worker") == worker
    assert CANARY not in stack.log("worker")
    assert '"level": "debug"' in stack.log("worker")
    attacker.put(victim.message)
    assert stack.wait(victim.job)["attempts"] == 1
    assert attacker.received(victim.route) == 1


def test_attributes_of_a_message_mean_nothing(siege) -> None:
    stack, attacker, victim = siege.stack, siege.attacker, siege.steal()
    said: dict[str, Any] = {
        "reason": "rejected", "cause": "task-raised", "job": victim.job, "own": True,
        "generation": 0, "sid": "0" * 16, "sig": "AAAA", "attempts": 8,
    }  # fmt: skip
    text = {"DataType": "String", "StringValue": json.dumps(said)}
    attributes: dict[str, Any] = {"sealwax-dead-letter": text, "Sealwax-Dead-Letter": text} | {
        f"a{number}": {"DataType": "Number.x", "StringValue": "1e999"} for number in range(7)
    }
    attributes["binary"] = {"DataType": "Binary", "BinaryValue": b"\x80\x04."}
    stray = victim.message.changed(args=["FORGED"])
    attacker.put(stray, attributes=attributes)
    letter = attacker.letter_of(stray)
    assert letter["says"]["reason"] == "stray"
    assert stack.job(victim.job)["state"] == "accepted"
    # On a genuine message they are as powerless.
    attacker.put(victim.message, attributes=attributes)
    assert stack.wait(victim.job)["state"] == "succeeded"
