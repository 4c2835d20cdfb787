"""Lambda's loop, imitated: a poller feeds Powertools' batch processor, and deletes what is done.

`work PROCESSES THREADS` runs the execution environments. Lambda's own pollers
run outside of what a customer pays for by the millisecond; here they share the
machine. Encryption and idempotency are those of the other peers; the
idempotency record keeps the result.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import uuid
from typing import Any

import bolted
import boto3
import job_common
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)

#: Messages a batch and the wait for one, in seconds: the event source mapping's defaults.
BATCH, WAIT = 10, 20
#: What Lambda hands along of a message, by SQS's name for it.
FIELDS = {
    "messageId": "MessageId",
    "receiptHandle": "ReceiptHandle",
    "body": "Body",
    "md5OfBody": "MD5OfBody",
    "attributes": "Attributes",
}


def handle(record: Any) -> None:
    key = record.message_attributes["job"].string_value
    bolted.run_once(key, record.body)


def poll(sqs: Any, url: str) -> None:
    """Receive a batch, have it handled, delete what did not fail."""
    found = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=BATCH, WaitTimeSeconds=WAIT, VisibilityTimeout=60,
        MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"],
    ).get("Messages", [])  # fmt: skip
    if not found:
        return
    records = [
        {
            **{name: message[given] for name, given in FIELDS.items()},
            "messageAttributes": {
                name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
                for name, value in message["MessageAttributes"].items()
            },
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:bench",
            "awsRegion": "us-east-1",
        }
        for message in found
    ]
    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
    answer = process_partial_response(
        event={"Records": records}, record_handler=handle, processor=processor
    )
    failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
    done = [
        {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
        for number, message in enumerate(found)
        if message["MessageId"] not in failed
    ]
    if done:
        sqs.delete_message_batch(QueueUrl=url, Entries=done)


def environment(threads: int) -> None:
    """Run one execution environment until it is killed."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    url = os.environ["BENCH_QUEUE_URL"]

    def run() -> None:
        sqs = boto3.session.Session().client("sqs")
        while True:
            poll(sqs, url)

    bolted.client()  # before the threads, that would make one each
    started = [threading.Thread(target=run) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


def work(processes: int, threads: int) -> None:
    """Run execution environments until SIGTERM."""
    children = [
        multiprocessing.Process(target=environment, args=(threads,), daemon=True)
        for _ in range(processes)
    ]
    for child in children:
        child.start()

    def stop(*_: Any) -> None:
        for child in children:
            child.terminate()

    signal.signal(signal.SIGTERM, stop)
    for child in children:
        child.join()


def sender() -> job_common.Submit:
    sqs, url = boto3.client("sqs"), os.environ["BENCH_QUEUE_URL"]

    def submit(sent: float) -> str:
        """Return the row of the idempotency record."""
        key = str(uuid.uuid4())
        sqs.send_message(
            QueueUrl=url, MessageBody=bolted.seal(sent),
            MessageAttributes={"job": {"DataType": "String", "StringValue": key}},
        )  # fmt: skip
        return bolted.row(key)

    return submit


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(int(sys.argv[2]), int(sys.argv[3]))
    else:
        _, threads, jobs, rate, file = sys.argv[1:]
        job_common.send(sender(), int(threads), int(jobs), float(rate), file)
