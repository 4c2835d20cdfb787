from __future__ import annotations

import json

from sealwax.deadletters import Letter, LetterState
from sealwax.deadletters.letter import LetterText
from sealwax.deadletters.resend import BATCH_BYTES, _batches, message_of
from sealwax.ledger import JobState, LedgerEntry

JOB = "0123456789abcdef0123456789abcdef"
BODY = json.dumps({"headers": {"id": JOB, "task": "a"}, "body": "[]", "properties": {}}).encode()


def letter(queue: str = "q", ordering: str | None = None) -> Letter:
    return Letter(
        id=f"{JOB}.0", state=LetterState.OPEN, group="g", queue=queue, reason="rejected",
        at=1, first=1, last=1, job=JOB, ordering=ordering,
    )  # fmt: skip


def entry() -> LedgerEntry:
    return LedgerEntry(
        id=JOB, state=JobState.ACCEPTED, task="a", tenant="tenant", lane="l", contract=1,
        created=1, updated=1, not_after=2, generation=3,
    )  # fmt: skip


def made(of: Letter, body: bytes = BODY, *, fair: bool = False):
    attributes = {
        "trace": {"DataType": "String", "StringValue": "t"},
        "sealwax-dead-letter": {"DataType": "String", "StringValue": "{}"},
    }
    return message_of(of, LetterText(body, attributes, None), entry(), fair=fair)


def test_the_generation_is_raised_and_the_reason_left_behind():
    message = made(letter())
    assert json.loads(message.fields["MessageBody"])["headers"]["generation"] == 3
    assert list(message.fields["MessageAttributes"]) == ["trace"]
    assert "MessageGroupId" not in message.fields


def test_on_fifo_it_keeps_its_group_and_is_never_swallowed_as_a_repeat():
    fields = made(letter("q.fifo", "order-1")).fields
    assert (fields["MessageGroupId"], fields["MessageDeduplicationId"]) == ("order-1", f"{JOB}-3")
    assert made(letter("q.fifo")).fields["MessageGroupId"] == JOB


def test_on_a_fair_queue_its_tenant_is_the_group():
    assert made(letter(), fair=True).fields["MessageGroupId"] == "tenant"


def test_what_is_no_task_message_is_not_sent():
    assert made(letter(), b"\xff") is None
    assert made(letter(), b"odd") is None
    assert made(letter(), b'{"headers": 1}') is None


def test_batches_keep_to_ten_entries_and_their_bytes_and_fifo_goes_one_by_one():
    plain = made(letter())
    assert [len(batch) for batch in _batches([plain] * 21)] == [10, 10, 1]
    big = made(letter(), BODY[:-1] + b',"x":"' + b"x" * (BATCH_BYTES // 3) + b'"}')
    assert [len(batch) for batch in _batches([big] * 4)] == [2, 2]
    assert [len(batch) for batch in _batches([made(letter("q.fifo"))] * 3)] == [1, 1, 1]
