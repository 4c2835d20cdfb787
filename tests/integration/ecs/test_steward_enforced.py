"""Stewards at work under their own role's policies, the keys', the bucket's and the queues'."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.enforcer import Enforcer, enforced
from support.letters import EVIDENCE, PUBLIC
from support.steward_parts import Parts
from support.templates import Stack

from sealwax.aws.clients import Aws
from sealwax.aws.s3 import Bucket, ObjectMissing
from sealwax.deadletters import Filter
from sealwax.deadletters.errors import LettersDenied, LettersUnreachable, NoSuchLetter
from sealwax.deadletters.letter import read
from sealwax.outbox.payloads import PayloadMissing, PayloadStore
from sealwax.outcomes import Reason
from sealwax.provision import provision
from sealwax.settings import Settings
from sealwax.steward.collect import DeadLetterCollector


class Leading:
    def held(self) -> bool:
        return True


@pytest.fixture
def settings(moto_env: Settings) -> Settings:
    provision(moto_env, Aws())
    return moto_env


@pytest.fixture
def enforcer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Enforcer:
    return enforced(settings, monkeypatch)


@pytest.fixture
def parts(settings: Settings, enforcer: Enforcer) -> Parts:
    return Parts(settings, Aws())


def objects(settings: Settings, prefix: str) -> list[str]:
    answer = Aws().client("s3").list_objects_v2(Bucket=settings.bucket_name, Prefix=prefix)
    return [item["Key"] for item in answer.get("Contents", [])]


def bury(parts: Parts, body: str, said: dict[str, Any]) -> None:
    name = parts.settings.dead_letter_queue_name("default")
    parts.sqs.send_message(
        QueueUrl=parts.sqs.get_queue_url(QueueName=name)["QueueUrl"],
        MessageBody=body,
        MessageAttributes={
            "sealwax-dead-letter": {"DataType": "String", "StringValue": json.dumps(said)}
        },
    )


def left(parts: Parts) -> int:
    name = parts.settings.dead_letter_queue_name("default")
    url = parts.sqs.get_queue_url(QueueName=name)["QueueUrl"]
    found = parts.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return int(found["ApproximateNumberOfMessages"]) + int(
        found["ApproximateNumberOfMessagesNotVisible"]
    )


@pytest.mark.parametrize("size", [100, 70_000], ids=["beside its letter", "in the bucket"])
def test_a_letter_is_archived_and_leaves_its_queue(settings, enforcer, parts, size):
    """The key of the bucket once left the steward out: a big letter was gone after 14 days."""
    bury(parts, "x" * size, {"reason": "malformed"})
    duty = DeadLetterCollector(settings, parts.sqs, parts.letters, parts.ledger, EVIDENCE)
    enforcer.role = "steward"
    for _ in range(3):
        duty.turn(Leading())
    enforcer.role = None

    assert enforcer.refused == []
    assert left(parts) == 0
    (letter,) = parts.letters.archive.page(Filter(reason="stray"), limit=10).letters
    enforcer.role = "steward"
    assert len(parts.letters.archive.body(letter.id).body) == size
    enforcer.role = None
    assert bool(objects(settings, f"letters/{letter.id}/")) is (size > 65_536)
    assert enforcer.refused == []


@pytest.mark.parametrize("trouble", ["not archived", "not read"])
def test_a_letter_that_cannot_be_kept_is_counted_by_the_alarm(
    settings, enforcer, parts, trouble, monkeypatch
):
    """What a steward logs of it is what the log group's metric filter looks for."""
    bury(parts, "x" * 70_000, {"reason": "malformed"})
    duty = DeadLetterCollector(settings, parts.sqs, parts.letters, parts.ledger, EVIDENCE)
    if trouble == "not archived":
        for policy in enforcer.account.policies:
            policy.statements[:] = [
                item for item in policy.statements if item["Sid"] != "BigLettersEncrypted"
            ]
    else:
        monkeypatch.setattr(duty, "_sort", lambda *_: 1 // 0)
    enforcer.role = "steward"
    with capture_logs() as lines:
        duty.turn(Leading())
    enforcer.role = None
    assert duty.counters.snapshot()["refused"] == 1
    (pattern,) = (
        item["FilterPattern"]
        for item in Stack("steward", {}).of_type("AWS::Logs::MetricFilter").values()
    )
    events = re.findall(r'\$\.event = "([^"]+)"', pattern)
    assert [line["event"] for line in lines if line["event"] in events] == [f"letter {trouble}"]
    (alarm,) = Stack("steward", {}).of_type("AWS::CloudWatch::Alarm").values()
    assert (alarm["Namespace"], alarm["MetricName"]) == ("Sealwax/prod", "RefusedLetters")


def test_a_discarded_jobs_payloads_are_found_and_deleted(settings, enforcer):
    payloads = PayloadStore(Aws().client("s3"), settings.bucket_name)
    job = secrets.token_hex(16)
    payloads.put(job, "sealed, for a repeat of the request")
    payloads.move_to_dead(job, payloads.put(job, "sealed"))
    enforcer.role = "steward"
    payloads.erase(job)
    enforcer.role = None
    assert enforcer.refused == []
    assert objects(settings, "") == []


@pytest.mark.parametrize("role", ["api", "steward"])
def test_a_body_that_is_gone_is_known_to_be_gone(settings, enforcer, parts, role):
    """S3 answers 403, not 404, to whoever may not list: it is no refusal for good."""
    said = {"DataType": "String", "StringValue": json.dumps({"reason": str(Reason.MALFORMED)})}
    message = {
        "MessageId": "m",
        "Body": "x" * 70_000,
        "MessageAttributes": {"sealwax-dead-letter": said},
    }
    made = read(message, queue=parts.queue, lane="default", now=1.0, verifier=PUBLIC)
    parts.letters.archive.put([made])
    for key in objects(settings, "letters/"):
        Aws().client("s3").delete_object(Bucket=settings.bucket_name, Key=key)
    enforcer.role = role
    with pytest.raises(NoSuchLetter):
        parts.letters.archive.body(made[0].id)
    assert enforcer.refused == []


@pytest.mark.parametrize("role", ["worker", "steward"])
def test_a_payload_that_is_gone_is_known_to_be_gone(settings, enforcer, role):
    payloads = PayloadStore(Aws().client("s3"), settings.bucket_name)
    enforcer.role = role
    with pytest.raises(PayloadMissing):
        payloads.fetch("0" * 32, f"swxc1.{'0' * 64}.4")
    assert enforcer.refused == []


def test_what_a_role_may_neither_read_nor_list_stays_refused(settings, enforcer):
    bucket = Bucket(
        lambda: Aws().client("s3"), settings.bucket_name, LettersUnreachable, LettersDenied
    )
    for role, key in (("api", "live/1/2"), ("operator", "letters/1/2")):
        enforcer.role = role
        with pytest.raises((LettersDenied, ObjectMissing)) as raised:
            bucket.read(key)
        # The operator may list the bucket: it is told the truth of what is not there.
        assert raised.type is (LettersDenied if role == "api" else ObjectMissing)
