"""The calls of a queue."""

from __future__ import annotations

import json
import threading
import time
from types import SimpleNamespace

import pytest

from sealwax.aws.sqs import BATCH_ENTRIES
from sealwax.telemetry.counters import Counters
from sealwax.transport.batching import BatchEntry, EntryResult
from sealwax.transport.engine import Engine, QueueCalls
from sealwax.transport.errors import DeadLetterQueueMissing
from sealwax.transport.options import QueueOptions, TransportOptions


def test_as_many_deletes_are_under_way_as_there_are_receives() -> None:
    class Endpoint:
        """Answers no delete before three have been asked for at once."""

        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.under_way = 0
            self.together = threading.Event()

        def delete_message_batch(self, *, Entries: list[dict[str, str]], **_: object) -> object:  # noqa: N803 - boto3's name
            with self.lock:
                self.under_way += 1
                if self.under_way == 3:
                    self.together.set()
            # How many entries each batch got depends on the machine's load; with
            # smaller ones there are more calls, which are answered like the others.
            assert self.together.wait(20)
            with self.lock:
                self.under_way -= 1
            return {"Successful": [{"Id": each["Id"]} for each in Entries]}

    engine = SimpleNamespace(
        options=TransportOptions(receivers=3), counters=Counters(), quick=Endpoint(), polling=None
    )
    calls = QueueCalls(engine, "https://sqs.test/1/q")  # type: ignore[arg-type]
    outcomes: list[EntryResult] = []
    for number in range(3 * BATCH_ENTRIES):
        fields = {"ReceiptHandle": str(number)}
        calls.delete.submit(
            BatchEntry(fields, done=outcomes.append, deadline=time.monotonic() + 60)
        )

    assert calls.delete.flush(30)
    assert [each.ok for each in outcomes] == [True] * 3 * BATCH_ENTRIES
    calls.delete.close()


@pytest.mark.parametrize(
    ("arn", "asked"),
    [
        (
            "arn:aws:sqs:eu-central-1:444455556666:q-dlq",
            {"QueueName": "q-dlq", "QueueOwnerAWSAccountId": "444455556666"},
        ),
        (
            "arn:aws:sqs:eu-central-1:111122223333:q-dlq",
            {"QueueName": "q-dlq", "QueueOwnerAWSAccountId": "111122223333"},
        ),
        (
            "arn:aws-us-gov:sqs:us-gov-west-1:444455556666:q-dlq.fifo",
            {"QueueName": "q-dlq.fifo", "QueueOwnerAWSAccountId": "444455556666"},
        ),
        ("arn:aws:sns:eu-central-1:444455556666:q-dlq", None),
        ("q-dlq", None),
        ("", None),
    ],
)
def test_letters_go_to_the_account_that_the_redrive_policy_names(
    arn: str, asked: dict[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, str]] = []

    class Sqs:
        def get_queue_attributes(self, **_: object) -> object:
            return {"Attributes": {"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn})}}

        def get_queue_url(self, **request: str) -> object:
            calls.append(request)
            return {"QueueUrl": "https://sqs.test/4/q-dlq"}

    queues = {"q": QueueOptions(url="https://sqs.test/1/q")}
    engine = Engine(TransportOptions(queues=queues))
    monkeypatch.setattr(Engine, "quick", Sqs())
    if asked is None:
        with pytest.raises(DeadLetterQueueMissing):
            engine.dead_letter_url("q")
        assert calls == []
    else:
        assert engine.dead_letter_url("q") == "https://sqs.test/4/q-dlq"
        assert calls == [asked]
