"""The calls of a queue."""

from __future__ import annotations

import json
import threading
import time
from types import SimpleNamespace

import pytest
from support.botocore_http import make_client, session

from sealwax.aws.sqs import BATCH_ENTRIES
from sealwax.telemetry.counters import Counters
from sealwax.transport.batching import BatchEntry, EntryResult
from sealwax.transport.engine import Engine, QueueCalls
from sealwax.transport.errors import DeadLetterQueueMissing
from sealwax.transport.options import QueueOptions, TransportOptions
from sealwax.transport.sqs_http import SqsHttpClient


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


#: Refusals that pass, whoever is said to be at fault for them.
PASSING = [
    "KMS.ThrottlingException", "InvalidSignatureException", "IncompleteSignatureException",
    "MissingAuthenticationTokenException", "RequestTimeTooSkewed", "KmsInvalidState",
    "RequestThrottled", "AccessDeniedException", "ACodeThatNobodyHasMet",
]  # fmt: skip
#: Refusals that say that the receipt, the message or the queue is gone, or the entry wrong.
LASTING = [
    "ReceiptHandleIsInvalid", "MessageNotInflight", "QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue", "InvalidParameterValue", "InvalidMessageContents",
]  # fmt: skip


@pytest.mark.parametrize("code", [*PASSING, *LASTING])
@pytest.mark.parametrize("kind", ["send", "letters", "delete", "visibility"])
@pytest.mark.parametrize("whole", [True, False], ids=["call", "entry"])
def test_only_what_says_that_something_is_gone_or_wrong_is_final(
    code: str, kind: str, whole: bool
) -> None:
    client, http, _ = make_client("sqs")
    quick = SqsHttpClient(client, session().get_credentials)
    client.list_queues()
    if whole:
        http.status, http.body = 400, json.dumps({"__type": f"com.amazonaws.sqs#{code}"}).encode()
    else:
        failed = {"Id": "0", "Code": code, "SenderFault": True}
        http.body = json.dumps({"Failed": [failed]}).encode()
    engine = SimpleNamespace(options=TransportOptions(), counters=Counters(), quick=quick)
    batcher = getattr(QueueCalls(engine, "https://sqs.test/1/q"), kind)  # type: ignore[arg-type]
    outcomes: list[EntryResult] = []

    batcher.submit(BatchEntry({"ReceiptHandle": "r"}, done=outcomes.append, deadline=0.0))
    assert batcher.flush(60)
    batcher.close()

    assert quick.direct
    assert [(each.ok, each.code, each.retryable) for each in outcomes] == [
        (False, code, code in PASSING)
    ]
