"""What somebody who writes to the dead-letter queue, or whose letter a worker made, cannot do.

The steward of the attacked stack collects every letter; what is in the archive
is what it believes.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest
from support.attacker import Message, garbage, letter_attribute
from support.waiting import wait_for


@pytest.fixture(scope="module")
def operator(_siege) -> str:
    return _siege.stack.token_for("operations", "ops:read", "ops:write")


def places(siege: Any, job: str) -> dict[str, dict[str, Any]]:
    """Return the letters that stand in a job's own places, by id."""
    return {
        f"{item['id']['S']}.{item['sort']['S'].removeprefix('letter.')}": item
        for item in siege.stack.items("letters")
        if item["id"]["S"] == job and item["sort"]["S"].startswith("letter.")
    }


def start_replay(siege: Any, operator: str, *ids: str) -> str:
    """Start a replay of letters; return its id."""
    made = siege.attacker.ops(
        operator, "POST", "replays", json={"mode": "start", "reason": "mended", "ids": list(ids)},
        headers={"Idempotency-Key": secrets.token_hex(8)},
    )  # fmt: skip
    return str(made["id"])


def replayed(siege: Any, operator: str, *ids: str) -> dict[str, Any]:
    """Start a replay of letters; return it when it has ended."""
    replay = start_replay(siege, operator, *ids)

    def ended() -> dict[str, Any] | None:
        found = siege.attacker.ops(operator, "GET", f"replays/{replay}")
        return found if found["state"] in ("done", "cancelled", "paused", "stopped") else None

    return wait_for(ended, seconds=60, what="the replay has ended")


def forged_attribute(job: str, queue: str, body: str) -> dict[str, Any]:
    """Return the attribute that a worker might have written, without its signature."""
    return letter_attribute(
        reason="rejected", cause="http-400", error="Rejected", job=job, own=True, generation=0,
        body=body, queue=queue, attempts=1, task="webhooks.relay", sid="0" * 16, sig="A" * 86,
    )  # fmt: skip


@pytest.mark.long
def test_the_dead_letter_queue_is_believed_only_as_far_as_a_worker_signed(siege) -> None:
    stack, attacker, victim = siege.stack, siege.attacker, siege.steal()
    lane = "sealwax-acceptance_default"
    before = stack.job(victim.job)
    forged: list[Message] = [
        garbage(victim.job),
        victim.message.changed(args=["FORGED"]),
        # The job's own envelope, with a death that no worker has seen.
        victim.message.changed(headers={"lang": "en"}),
    ]
    for message in forged:
        attacker.put_dead(message, forged_attribute(victim.job, lane, "0" * 64))
    strays = [attacker.letter_of(message) for message in forged[:2]]
    wait_for(lambda: attacker.depth(attacker.dead) == 0, seconds=60, what="all is collected")
    assert [each["id"][:2] for each in strays] == ["s-", "s-"]
    assert places(siege, victim.job) == {}
    assert stack.job(victim.job)["state"] in (before["state"], "succeeded")
    attacker.put(victim.message)
    assert stack.wait(victim.job)["attempts"] == 1


def test_a_stray_is_not_replayed(siege, operator: str) -> None:
    stack, attacker, victim = siege.stack, siege.attacker, siege.steal()
    stray = garbage(victim.job)
    attacker.put(stray)
    letter = attacker.letter_of(stray)
    replay = replayed(siege, operator, f"{letter['id']}.0")
    assert replay.get("sent", 0) == 0, replay
    assert "generation" not in stack.ledger_item(victim.job)
    # So its genuine message is not superseded.
    attacker.put(victim.message)
    assert stack.wait(victim.job)["state"] == "succeeded"


def test_letters_of_one_job_are_replayed_once(siege, operator: str) -> None:
    """Copies with other headers are the job's own too: each is kept, one is sent."""
    stack, attacker, victim = siege.stack, siege.attacker, siege.steal()
    attacker.downstream(victim.route, {"fail": {"status": 400}})
    attacker.put(victim.message)
    assert stack.wait(victim.job)["state"] == "dead"
    attacker.letter_of(victim.message)
    copy = victim.message.changed(headers={"lang": "other"})
    attacker.put(copy)
    attacker.letter_of(copy)
    assert len(places(siege, victim.job)) == 2
    attacker.downstream(victim.route, None)
    replay = replayed(siege, operator, *places(siege, victim.job))
    assert replay["sent"] == 1, replay
    assert stack.wait(victim.job, "succeeded", "dead")["state"] == "succeeded"
    # What was recorded before the replay is superseded, whatever generation it claims.
    attacker.put(victim.message, victim.message.changed(headers={"generation": 1}))
    attacker.drained()
    assert attacker.received(victim.route) == 2
    assert stack.job(victim.job)["state"] == "succeeded"


def test_invented_names_make_one_group(siege, operator: str) -> None:
    attacker, victim = siege.attacker, siege.steal()
    before = attacker.ops(operator, "GET", "groups")["groups"]
    strays = [
        victim.message.changed(headers={"task": f"no.such_{secrets.token_hex(3)}"})
        for _ in range(40)
    ]
    for stray in strays[:20]:
        attacker.put(stray)
    for stray in strays[20:]:
        said = letter_attribute(reason="rejected", cause=secrets.token_hex(4), task="x.y")
        attacker.put_dead(stray, said)
    for stray in strays:
        attacker.letter_of(stray)
    after = attacker.ops(operator, "GET", "groups")["groups"]
    assert len(after) - len(before) <= 1
    attacker.put(victim.message)
    assert siege.stack.wait(victim.job)["state"] == "succeeded"


@pytest.mark.long
def test_an_audit_line_that_was_changed_is_named(siege, operator: str) -> None:
    """Operators' doings leave lines; a role that may write can change one, not hide it."""
    stack, attacker = siege.stack, siege.attacker
    attacker.ops(operator, "POST", "lanes/other/pause", json={"reason": "attacked"})
    attacker.ops(operator, "POST", "lanes/other/resume", json={"reason": "over"})
    verified = stack.cli("audit", "verify", check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    lines = [item for item in stack.items("audit") if "verb" in item]
    assert {"lane.pause", "lane.resume"} <= {item["verb"]["S"] for item in lines}
    line = next(item for item in lines if item["verb"]["S"] == "lane.pause")
    dynamodb = stack.client("dynamodb")
    dynamodb.put_item(
        TableName="sealwax-acceptance-audit", Item=line | {"actor": {"S": "token:other"}}
    )
    named = stack.cli("audit", "verify", check=False)
    assert named.returncode != 0
    dynamodb.put_item(TableName="sealwax-acceptance-audit", Item=line)
    assert stack.cli("audit", "verify", check=False).returncode == 0


def test_a_worker_of_another_lane_reads_no_payload(siege) -> None:
    from sealwax.aws.clients import Aws
    from sealwax.envelope import EnvelopeError, Expected, Purpose, open_envelope
    from sealwax.keys.keyring import Keyring
    from sealwax.secrets.factory import make_source

    victim = siege.steal()
    with siege.stack.in_process() as settings:
        source = make_source(settings, Aws(settings.aws))
        expect = Expected(purpose=Purpose.JOB, task="webhooks.relay", job=victim.job, tenant=None)
        own, other = (
            Keyring.read("worker", source.get, lane=lane) for lane in ("default", "other")
        )
    envelope = victim.message.argument
    assert json.loads(open_envelope(envelope, keyring=own, expect=expect, now=0.0).plaintext)
    with pytest.raises(EnvelopeError):
        open_envelope(envelope, keyring=other, expect=expect, now=0.0)
    siege.attacker.put(victim.message)
    assert siege.stack.wait(victim.job)["state"] == "succeeded"


def test_a_letter_changed_in_the_archive_runs_nothing(siege, operator: str) -> None:
    """Whoever writes the archive's table can lose a letter; what is replayed is judged again."""
    stack, attacker = siege.stack, siege.attacker
    victim, other = siege.steal(), siege.steal()
    attacker.downstream(victim.route, {"fail": {"status": 400}})
    attacker.put(victim.message)
    assert stack.wait(victim.job)["state"] == "dead"
    attacker.letter_of(victim.message)
    attacker.downstream(victim.route, None)
    swapped = victim.message.changed(args=[other.message.argument])
    (item,) = [
        item
        for item in stack.items("letters")
        if item["id"]["S"] == victim.job and item["sort"]["S"] == "body.0"
    ]
    stack.client("dynamodb").put_item(
        TableName="sealwax-acceptance-letters", Item=item | {"body": {"B": swapped.text.encode()}}
    )
    replayed(siege, operator, f"{victim.job}.0")
    attacker.drained()
    assert attacker.received(victim.route) == 1
    assert attacker.received(other.route) == 0
    assert stack.job(victim.job)["state"] != "succeeded"
    attacker.put(other.message)
    assert stack.wait(other.job)["state"] == "succeeded"


def test_a_replay_is_sent_in_the_group_of_the_first_send(siege, operator: str) -> None:
    """A fair lane's group is not the ledger's HMAC of the tenant: nobody joins the two."""
    stack, attacker, victim = siege.stack, siege.attacker, siege.steal()
    assert victim.message.group
    attacker.downstream(victim.route, {"fail": {"status": 400}})
    attacker.put(victim.message)
    assert stack.wait(victim.job)["state"] == "dead"
    attacker.letter_of(victim.message)
    attacker.downstream(victim.route, None)
    stack.stop_worker()
    start_replay(siege, operator, f"{victim.job}.0")
    (message,) = attacker.take_all({victim.job}).values()
    stack.start_worker()
    assert message.group == victim.message.group
    assert message.group != stack.ledger_item(victim.job)["tenant"]["S"]
    attacker.put(message)
    assert stack.wait(victim.job, "succeeded")["state"] == "succeeded"
