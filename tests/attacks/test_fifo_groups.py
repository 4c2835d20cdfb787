"""Strangers' messages in a FIFO group do not hold it: what follows them runs."""

from __future__ import annotations

import secrets

import pytest
from support.attacker import Attacker, Message, garbage
from support.stack import LiveStack

pytestmark = pytest.mark.long

QUEUE = "sealwax-acceptance_default"


@pytest.fixture(scope="module")
def stack(make_stack) -> LiveStack:
    return make_stack(
        routes={"demo": {}},
        steward=True,
        worker=False,
        lane=f'lease = 3\nqueue = "{QUEUE}.fifo"',
        extra="[limits]\nunknown_key_seconds = 1\nunknown_task_seconds = 1\n",
    )


def put(attacker: Attacker, group: str, *messages: Message) -> None:
    """Send messages into a group, in this order."""
    for message in messages:
        attacker.sqs.send_message(
            QueueUrl=attacker.queue,
            MessageBody=message.text,
            MessageGroupId=group,
            MessageDeduplicationId=secrets.token_hex(8),
        )


def test_a_message_of_far_away_does_not_hold_its_group(stack: LiveStack) -> None:
    attacker = Attacker(stack, "default", suffix=".fifo")
    job = stack.relay("demo", {"n": 1})
    message = attacker.take_all({job})[job]
    group = message.group or job
    later = {"eta": "9990-01-01T00:00:00+00:00"}
    strays = [
        garbage(job, **later),
        message.changed(args=["FORGED"], headers=later),
        message.changed(headers={"task": "no.such_task", **later}),
        message.changed(kwargs={"self": 1}),
    ]
    put(attacker, group, *strays, message)
    stack.start_worker()
    assert stack.wait(job, seconds=90)["state"] == "succeeded"
    assert stack.job(job)["attempts"] == 1
    for stray in strays:
        assert attacker.letter_of(stray)["says"]["reason"] == "stray"
