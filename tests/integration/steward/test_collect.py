from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.expiries import FAR
from support.waiting import wait_for

from sealwax.deadletters import explain, make_letters
from sealwax.ledger import Ledger, NewJob
from sealwax.steward.collect import DeadLetterCollector

JOB = "0123456789abcdef0123456789abcdef"
MALFORMED = json.loads(
    (Path(__file__).parents[2] / "data/transport/malformed.json").read_text()
)  # fmt: skip


class Always:
    def held(self) -> bool:
        return True


class Never:
    def held(self) -> bool:
        return False


class Scene:
    def __init__(self, settings, aws) -> None:
        self.settings = settings
        self.now = [FAR]
        self.sqs = aws.client("sqs")
        self.letters = make_letters(settings, aws, clock=lambda: self.now[0])
        self.ledger = Ledger(aws.client("dynamodb"), settings.table_name("jobs"))
        self.queue = self.url(settings.queue_name("default"))
        self.dead = self.url(settings.dead_letter_queue_name("default"))
        self.duty = DeadLetterCollector(
            settings, self.sqs, self.letters, self.ledger, clock=lambda: self.now[0]
        )

    def url(self, name: str) -> str:
        return self.sqs.get_queue_url(QueueName=name)["QueueUrl"]

    def bury(self, message: dict[str, Any], *, reason: bool = True) -> None:
        attributes = message["MessageAttributes"] if reason else {}
        self.sqs.send_message(
            QueueUrl=self.dead, MessageBody=message["Body"], MessageAttributes=attributes
        )

    def left(self, url: str) -> int:
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return int(found["ApproximateNumberOfMessages"]) + int(
            found["ApproximateNumberOfMessagesNotVisible"]
        )

    def collect(self) -> None:
        def empty() -> bool:
            self.duty.turn(Always())
            return self.left(self.dead) == 0

        wait_for(empty, seconds=60, what="the dead-letter queue is empty")

    def accept(self, job: str = JOB) -> None:
        self.ledger.accept(
            NewJob(
                id=job, task="webhooks.relay", tenant="t", lane="default", contract=1,
                created=1.0, not_after=2**33, expires=2**33,
            )
        )  # fmt: skip


@pytest.fixture
def scene(letter_settings, aws) -> Scene:
    return Scene(letter_settings, aws)


def test_dead_letters_are_archived_whole_then_deleted(scene, message):
    sent = [message() for _ in range(23)]
    for each in sent:
        scene.bury(each)
    scene.collect()
    page = scene.letters.archive.page(limit=100)
    bodies = {scene.letters.archive.body(letter.id).body for letter in page.letters}
    assert bodies == {each["Body"].encode() for each in sent}
    assert [group.open for group in scene.letters.groups.list()] == [23]


def test_who_does_not_lead_takes_nothing(scene, message):
    scene.bury(message())
    assert scene.duty.turn(Never()) is False
    assert scene.left(scene.dead) == 1


def test_a_crash_between_archive_and_delete_leaves_one_letter(scene, message, monkeypatch):
    scene.bury(message(JOB))
    with monkeypatch.context() as patched:
        patched.setattr("sealwax.steward.collect.HELD", 1)
        patched.setattr(scene.duty, "_delete", lambda *_: None)
        scene.duty.turn(Always())
    assert scene.left(scene.dead) == 1
    scene.collect()
    assert scene.letters.archive.get(f"{JOB}.0").copies == 1
    assert [group.open for group in scene.letters.groups.list()] == [1]


def test_every_malformed_shape_is_a_letter_with_a_reason_and_its_body(scene, message):
    for name, body in MALFORMED.items():
        said = message(reason="malformed", cause=None, body=body, error=name)
        scene.bury(said)  # as the transport dead-letters it
        scene.bury(said, reason=False)  # as SQS's own redrive or a person moves it
    scene.collect()
    found: list[Any] = []
    after = None
    while len(found) < 2 * len(MALFORMED):
        page = scene.letters.archive.page(after=after, limit=100)
        found, after = found + page.letters, page.after
    bodies = [scene.letters.archive.body(letter.id).body for letter in found]
    assert set(bodies) == {body.encode() for body in MALFORMED.values()}
    for letter in found:
        assert explain(letter).startswith(("The message is no task message:", "SQS gave up"))


def test_what_the_redrive_moved_too_early_goes_back_at_most_hourly(scene, message):
    scene.accept()
    body = message(JOB)
    scene.bury(body, reason=False)
    scene.collect()
    assert scene.left(scene.queue) == 1
    assert scene.letters.archive.of_job(JOB) == []

    scene.bury(body, reason=False)  # again within the hour: it waits out of sight
    scene.duty.turn(Always())
    assert (scene.left(scene.queue), scene.left(scene.dead)) == (1, 1)
    scene.now[0] += 3_601
    scene.bury(body, reason=False)
    scene.duty.turn(Always())
    assert (scene.left(scene.queue), scene.left(scene.dead)) == (2, 1)
    assert scene.duty.counters.snapshot()["backstop.returned"] == 2


def test_what_the_redrive_moved_of_an_ended_job_is_deleted_or_archived(scene, message):
    scene.accept()
    scene.ledger.claim(JOB, token="a", lease=30)
    scene.ledger.succeed(JOB, token="a", result=None)
    scene.bury(message(JOB), reason=False)
    dead = "f" * 32
    scene.accept(dead)
    scene.ledger.claim(dead, token="a", lease=30)
    scene.ledger.die(dead, token="a", reason="rejected", cause="x", error="Rejected")
    scene.bury(message(dead), reason=False)
    unknown = "e" * 32
    scene.bury(message(unknown), reason=False)
    scene.collect()
    assert scene.letters.archive.of_job(JOB) == []
    assert [letter.reason for letter in scene.letters.archive.of_job(dead)] == ["backstop"]
    assert [letter.reason for letter in scene.letters.archive.of_job(unknown)] == ["backstop"]


def test_a_letter_that_cannot_be_kept_does_not_hold_up_its_mates(scene, message, monkeypatch):
    put = scene.letters.archive.put

    def refuse(found):
        if any(text.body == b"bad" for _, text in found):
            raise ValueError("too odd")
        return put(found)

    monkeypatch.setattr(scene.letters.archive, "put", refuse)
    for body in ("bad", None, None):
        scene.bury(message(body=body))
    wait_for(
        lambda: scene.duty.turn(Always()) or scene.left(scene.dead) == 1,
        seconds=60,
        what="all but one are collected",
    )
    assert len(scene.letters.archive.page().letters) == 2
