from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

from sealwax.deadletters import Letter, LetterState
from sealwax.deadletters.letter import LetterText
from sealwax.deadletters.resend import LetterResender, message_of
from sealwax.keys.documents import KeyDocuments
from sealwax.keys.hmac import KeyedHashes
from sealwax.keys.keyring import Keyring
from sealwax.ledger import JobState, Ledger, LedgerEntry
from sealwax.producer.publish import QueuedJob
from sealwax.producer.submit import Submitter
from sealwax.settings import Lane, Settings
from sealwax.testing.dynamodb import FakeDynamoDB

JOB = "0123456789abcdef0123456789abcdef"
HASHES = {"tenant": "a" * 64, "keys": [{"version": 1, "key": "b" * 64, "state": "active"}]}
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


def made(of: Letter, body: bytes = BODY, *, fair_group: str | None = None):
    attributes = {
        "trace": {"DataType": "String", "StringValue": "t"},
        "sealwax-dead-letter": {"DataType": "String", "StringValue": "{}"},
    }
    return message_of(of, LetterText(body, attributes, None), entry(), fair_group=fair_group)


def test_the_generation_is_raised_and_the_reason_left_behind():
    message = made(letter())
    assert json.loads(message.body)["headers"]["generation"] == 3
    assert list(message.attributes) == ["trace"]
    assert message.group is None


def test_on_fifo_it_keeps_its_group_and_is_never_swallowed_as_a_repeat():
    fields = made(letter("q.fifo", "order-1")).fields()
    assert (fields["MessageGroupId"], fields["MessageDeduplicationId"]) == ("order-1", f"{JOB}-3")
    assert made(letter("q.fifo")).group == JOB


def test_on_a_fair_queue_a_replay_joins_its_tenants_first_sends_and_names_no_tenant() -> None:
    hashes = KeyedHashes.load(json.dumps(HASHES))
    queue = "sealwax-local_default"
    settings = Settings(lanes={"default": Lane.model_validate({"fair": True})})
    resender = LetterResender(settings, None, fair_group=hashes.fair_group)
    text = LetterText(BODY, {}, None)

    class Publisher:
        sent: ClassVar[list[QueuedJob]] = []

        def publish(self, job: QueuedJob) -> None:
            self.sent.append(job)

    documents = KeyDocuments.create("x25519", 1).secrets()
    dynamodb: Any = FakeDynamoDB()
    runtime: Any = SimpleNamespace(
        settings=settings,
        hashes=hashes,
        keyring=Keyring.read("api", documents.__getitem__),
        ledger=Ledger(dynamodb, "jobs", keep=1),
        clock=lambda: 1.0,
    )
    definition: Any = SimpleNamespace(name="a", lane="default", version=1)
    accepted = Submitter(runtime, Publisher()).submit(definition, {}, tenant="acme").entry
    replayed = resender.message(letter(queue), text, replace(entry(), tenant=accepted.tenant))
    assert replayed is not None
    assert replayed.group == Publisher.sent[0].group
    assert accepted.tenant not in str(replayed.fields())


def test_what_is_no_task_message_is_not_sent():
    assert made(letter(), b"\xff") is None
    assert made(letter(), b"odd") is None
    assert made(letter(), b'{"headers": 1}') is None
