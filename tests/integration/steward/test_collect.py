from __future__ import annotations

import contextlib
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.expiries import FAR
from support.letters import EVIDENCE, PUBLIC, TENANT, body_of, sealed
from support.waiting import wait_for

from sealwax.deadletters import Filter, explain, make_letters
from sealwax.deadletters.errors import LettersUnreachable
from sealwax.deadletters.letter import read
from sealwax.deadletters.signature import body_digest
from sealwax.envelope import SigningKey
from sealwax.keys.documents import KeyDocuments
from sealwax.keys.public import PublicKeyring
from sealwax.ledger import Ledger, LedgerUnreachable, NewJob
from sealwax.outbox.payloads import PayloadStoreUnreachable
from sealwax.steward.collect import TROUBLES, DeadLetterCollector

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
            settings, self.sqs, self.letters, self.ledger, EVIDENCE, clock=lambda: self.now[0]
        )

    def url(self, name: str) -> str:
        return self.sqs.get_queue_url(QueueName=name)["QueueUrl"]

    def bury(self, message: dict[str, Any], *, reason: bool = True) -> None:
        attributes = message["MessageAttributes"] if reason else {}
        self.sqs.send_message(
            QueueUrl=self.dead, MessageBody=message["Body"], MessageAttributes=attributes
        )

    def redrive(self, body: str) -> None:
        """Do what SQS does after a thousand receives: no reason is given."""
        self.sqs.send_message(QueueUrl=self.dead, MessageBody=body)

    def strays(self) -> dict[str | None, str | None]:
        """Return the causes of the strays by the job whose id they bear."""
        page = self.letters.archive.page(Filter(reason="stray"), limit=100)
        return {letter.claims: letter.cause for letter in page.letters}

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
                id=job, task="webhooks.relay", tenant=TENANT, lane="default", contract=1,
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


def test_every_malformed_shape_is_a_stray_with_a_cause_and_its_body(scene, message):
    for name, body in MALFORMED.items():
        # As the transport dead-letters it, and as SQS's own redrive or a person moves it.
        scene.bury(message(reason="malformed", cause=name, body=body, error=name, own=False))
        scene.redrive(body)
    scene.collect()
    found: list[Any] = []
    after = None
    while len(found) < len(set(MALFORMED.values())):
        page = scene.letters.archive.page(Filter(reason="stray"), after=after, limit=100)
        found, after = found + page.letters, page.after
    bodies = [scene.letters.archive.body(letter.id).body for letter in found]
    assert sorted(bodies) == sorted({body.encode() for body in MALFORMED.values()})
    for letter in found:
        assert explain(letter).startswith("The message is no job's own: ")
    assert scene.letters.groups.list() == []
    assert len(scene.letters.groups.list(strays=True)) == 1


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


def test_what_the_redrive_moved_of_an_ended_job_is_deleted_or_archived(scene):
    scene.accept()
    scene.ledger.claim(JOB, token="a", lease=30)
    scene.ledger.succeed(JOB, token="a", result=None)
    scene.redrive(body_of(JOB))
    dead = "f" * 32
    scene.accept(dead)
    scene.ledger.claim(dead, token="a", lease=30)
    scene.ledger.die(dead, token="a", reason="rejected", cause="x", error="Rejected")
    scene.redrive(body_of(dead))
    scene.redrive(body_of(dead))
    unknown = "e" * 32
    scene.redrive(body_of(unknown))
    scene.collect()
    assert scene.letters.archive.of_job(JOB) == []
    (letter,) = scene.letters.archive.of_job(dead)
    assert (letter.id, letter.attempts) == (f"{dead}.0", 1)
    # Why it died the ledger knows.
    assert (letter.reason, letter.cause, letter.error) == ("rejected", "x", "Rejected")
    assert scene.letters.archive.of_job(unknown) == []
    assert scene.strays() == {unknown: "no-ledger-entry"}


def test_what_the_redrive_moved_and_is_not_the_jobs_own_is_a_stray(scene):
    other = "f" * 32
    forged = {
        "not-sealed": body_of(JOB).replace('], {}, {}]"', '], {\\"x\\": 1}, {}]"'),
        "envelope-malformed": body_of(JOB, "FORGED"),
        "context-mismatch": body_of(JOB, sealed(other)),
        "claim-missing": body_of(JOB, f"swxc1.{'0' * 64}.9"),
        "generation": body_of(JOB, generation=1),
    }
    scene.accept()
    before = scene.ledger.get(JOB)
    for cause, body in forged.items():
        scene.redrive(body)
        scene.collect()
        digest = body_digest(body.encode())
        page = scene.letters.archive.page(Filter(reason="stray"), limit=10)
        assert [each.cause for each in page.letters if each.digest == digest] == [cause]
    assert scene.left(scene.queue) == 0
    assert scene.letters.archive.of_job(JOB) == []
    assert scene.ledger.get(JOB) == before
    assert len(scene.letters.archive.claiming(JOB)) == len(forged)


def test_a_copy_in_another_lanes_queue_is_a_stray(scene):
    scene.accept()
    scene.settings.lanes["slow"] = scene.settings.lanes["default"].model_copy(
        update={"queue": scene.settings.queue_name("default")}
    )
    scene.settings.lanes["default"] = scene.settings.lanes["default"].model_copy(
        update={"queue": "elsewhere"}
    )
    body = {"MessageId": "m", "Body": body_of(JOB)}
    kept = scene.duty._judged(body, "slow", scene.dead)
    assert kept[0].cause == "wrong-lane"


@pytest.mark.parametrize("size", [99_000, 101_000, 900_000])
def test_an_attribute_of_any_size_is_kept_and_holds_nothing_up(scene, message, size):
    long = message(JOB, signed=False)
    said = json.dumps({"reason": "rejected", "more": "x" * size})
    long["MessageAttributes"]["sealwax-dead-letter"]["StringValue"] = said
    scene.bury(long)
    scene.collect()
    assert scene.strays() == {JOB: "unsigned"}
    (stray,) = scene.letters.archive.claiming(JOB)
    text = scene.letters.archive.body(stray.id)
    kept = text.said or text.attributes["sealwax-dead-letter"]["StringValue"]
    assert kept == said


def test_a_forged_reason_takes_nobodys_place_and_ends_nothing(scene, message):
    scene.accept()
    before = scene.ledger.get(JOB)
    scene.bury(message(JOB, signed=False))
    scene.collect()
    assert scene.letters.archive.of_job(JOB) == []
    assert scene.strays() == {JOB: "unsigned"}
    assert scene.ledger.get(JOB) == before


@pytest.mark.parametrize("said", ["of an older worker", "forged"])
def test_a_dead_jobs_own_message_is_its_letter_whatever_is_said_of_it(scene, message, said):
    """By its envelope and the ledger; the reason is the ledger's, not the attribute's."""
    scene.accept()
    scene.ledger.claim(JOB, token="a", lease=30)
    scene.ledger.die(JOB, token="a", reason="exhausted", cause="http-503", error="Transient")
    if said == "forged":
        scene.bury(message(JOB, reason="malformed", signer=SigningKey(b"x" * 32)))
    else:
        scene.bury(message(JOB, signed=False))
    scene.collect()
    (letter,) = scene.letters.archive.of_job(JOB)
    assert (letter.id, letter.reason, letter.cause) == (f"{JOB}.0", "exhausted", "http-503")
    assert scene.strays() == {}
    # The genuine letter is a copy of it: the same body.
    scene.bury(message(JOB, reason="exhausted", cause="http-503", at=scene.now[0] + 1))
    scene.collect()
    assert [each.copies for each in scene.letters.archive.of_job(JOB)] == [2]


def test_a_signer_that_the_keys_do_not_know_yet_is_waited_for(scene, message, monkeypatch):
    known: list[PublicKeyring] = [
        PublicKeyring.load(KeyDocuments.create("x25519", 1).secrets()["shared/keyring"])
    ]
    may = [False]

    def refresh() -> bool:
        if may[0]:
            known[:] = [PUBLIC]
        return may[0]

    monkeypatch.setattr("sealwax.steward.collect.UNKNOWN_SIGNER", 1)
    scene.now = [time.time()]
    scene.duty._evidence = replace(EVIDENCE, keyring=lambda: known[0], refresh=refresh)
    scene.bury(message(JOB))
    scene.duty.turn(Always())
    assert scene.left(scene.dead) == 1
    assert scene.strays() == {}
    may[0] = True
    scene.collect()
    assert [letter.id for letter in scene.letters.archive.of_job(JOB)] == [f"{JOB}.0"]


def test_a_signer_that_nobody_knows_makes_a_stray_once_the_keys_are_newer(scene, message):
    stranger = SigningKey(b"x" * 32)
    scene.bury(message(JOB, signer=stranger))
    scene.collect()
    assert scene.strays() == {JOB: "unknown-signer"}


def test_a_message_that_nobody_can_read_does_not_hold_up_its_mates(scene, message, monkeypatch):
    def read_or_break(each: dict[str, Any], **more: Any):
        if each["Body"] == "bad":
            raise RecursionError
        return read(each, **more)

    monkeypatch.setattr("sealwax.steward.collect.read", read_or_break)
    for body in ("bad", None, None):
        scene.bury(message(body=body))
    wait_for(
        lambda: scene.duty.turn(Always()) or scene.left(scene.dead) == 1,
        seconds=60,
        what="all but one are collected",
    )
    assert len(scene.letters.archive.page().letters) == 2
    assert scene.duty.counters.snapshot()["refused"] >= 1


def test_s3_away_holds_up_its_own_message_alone(scene, message):
    def away(*_: str) -> str:
        raise PayloadStoreUnreachable

    scene.accept()
    scene.duty._evidence = replace(EVIDENCE, fetch=away)
    scene.redrive(body_of(JOB, f"swxc1.{'0' * 64}.9"))
    mate = message()
    scene.bury(mate)
    scene.duty.turn(Always())
    assert scene.left(scene.dead) == 1
    assert scene.strays() == {}
    assert len(scene.letters.archive.page().letters) == 1


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


def test_s3_trouble_with_one_letter_does_not_hold_up_its_mates(scene, message, monkeypatch):
    put = scene.letters.archive.put

    def away(found):
        if any(text.body == b"bad" for _, text in found):
            raise LettersUnreachable
        return put(found)

    monkeypatch.setattr(scene.letters.archive, "put", away)
    for body in ("bad", None, None, None):
        scene.bury(message(body=body))
    wait_for(
        lambda: scene.duty.turn(Always()) or scene.left(scene.dead) == 1,
        seconds=60,
        what="all but one are collected",
    )
    assert len(scene.letters.archive.page().letters) == 3
    assert scene.duty.counters.snapshot()["trouble.LettersUnreachable"] >= 1


def test_an_archive_that_is_away_is_asked_a_few_times_and_fails_the_turn(
    scene, message, monkeypatch
):
    asked: list[int] = []

    def away(found):
        asked.append(len(found))
        raise LettersUnreachable

    monkeypatch.setattr(scene.letters.archive, "put", away)
    for _ in range(8):
        scene.bury(message())

    def failed() -> bool:
        asked.clear()
        try:
            scene.duty.turn(Always())
        except LettersUnreachable:
            return max(asked) >= 2
        return False

    wait_for(failed, seconds=60, what="a batch that fails the turn")
    assert len(asked) <= 1 + TROUBLES
    assert scene.left(scene.dead) == 8


def test_a_ledger_that_does_not_answer_for_one_message_holds_up_no_other(
    scene, message, monkeypatch
):
    scene.accept()
    scene.redrive(body_of(JOB, "any"))

    def away(*_: Any) -> Any:
        raise LedgerUnreachable

    monkeypatch.setattr(scene.duty, "_judged", away)
    scene.bury(message())

    def collected() -> bool:
        with contextlib.suppress(LedgerUnreachable):  # where a receive brought that one alone
            scene.duty.turn(Always())
        return len(scene.letters.archive.page().letters) == 1

    wait_for(collected, seconds=60, what="the other is collected")
    assert scene.left(scene.dead) == 1


def test_a_return_whose_answer_was_lost_is_recognised(scene, message, monkeypatch):
    genuine = scene.letters.table.update
    lost: list[Any] = []

    def update(operation):
        genuine(operation)
        if not lost:  # botocore's own second try meets what the first has written
            lost.append(operation)
            genuine(operation)

    monkeypatch.setattr(scene.letters.table, "update", update)
    scene.accept()
    entry = scene.ledger.get(JOB)
    assert scene.duty._may_return(entry, scene.now[0]) == 0
    assert len(lost) == 1
    # A genuine second return, an hour too early, is still refused.
    assert scene.duty._may_return(entry, scene.now[0] + 5) > 3_000
