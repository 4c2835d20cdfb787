"""A worker whose deliveries a test turns by hand: real transport, Celery, attempt and ledger.

Celery's own worker controller and consumer, with its solo pool, in this process.
Only the receivers stay out: the test receives from SQS itself, and hands over one
message at a time. An event between any two steps of a job is then an event
between two calls.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any

from celery import current_app
from celery.worker import WorkController

from sealwax.runtime import Runtime
from sealwax.settings import Settings
from sealwax.task_definition import TaskDefinition
from sealwax.transport.in_flight import Delivery, MessageState
from sealwax.transport.pauses import ConsumerPauses
from sealwax.worker.app import make_app
from support.waiting import wait_for

__all__ = ["HandWorker"]

LANE = "default"


class HandWorker:
    """`receive` takes visible messages out of SQS, `deliver` has the worker deal with them."""

    def __init__(
        self, settings: Settings, definitions: Mapping[str, TaskDefinition[Any]], runtime: Runtime
    ) -> None:
        self.queue = settings.queue_name(LANE)
        self.sqs: Any = runtime.aws.client("sqs")
        self.url = self.sqs.get_queue_url(QueueName=self.queue)["QueueUrl"]
        pauses = ConsumerPauses()
        # Never resumed: nothing is received but by the test.
        pauses.pause(self.queue, "by hand")
        self._app = make_app(settings, definitions, runtime, lane=LANE, pauses=pauses)
        self._former = current_app._get_current_object()
        self._app.set_current()
        worker = WorkController(
            app=self._app, pool="solo", concurrency=1, queues=[self.queue], optimization="default"
        )
        worker.pool.start()
        consumer = worker.consumer
        consumer.update_strategies()
        self._channel = self._app.connection_for_read().channel()
        # The strategies have adopted the consumer: its handlers are ours.
        self._channel.basic_consume(
            self.queue,
            no_ack=False,
            callback=consumer.create_task_handler(),
            consumer_tag="by-hand",
        )
        self.consumer = consumer
        #: Receipt of each message that was received and may come again.
        self.receipts: dict[str, str] = {}

    def receive(self) -> list[dict[str, Any]]:
        """Receive what is visible, up to ten messages."""
        found: list[dict[str, Any]] = self.sqs.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=60,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        ).get("Messages", [])
        return found

    def deliver(self, messages: list[dict[str, Any]]) -> None:
        """Have the worker deal with received messages; return when all have met their end."""
        deliveries = [self._deliver(message) for message in messages]

        def ended() -> bool:
            return all(each.state is MessageState.GONE for each in deliveries)

        wait_for(ended, what="the messages have met their end")

    def _deliver(self, message: dict[str, Any]) -> Delivery:
        system, now = message["Attributes"], time.monotonic()
        self.receipts[message["MessageId"]] = message["ReceiptHandle"]
        delivery = Delivery(
            token=secrets.token_hex(16),
            queue=self.queue,
            receipt=message["ReceiptHandle"],
            message_id=message["MessageId"],
            body=message["Body"],
            attributes=message.get("MessageAttributes") or {},
            receive_count=int(system["ApproximateReceiveCount"]),
            sent_at=int(system["SentTimestamp"]) / 1_000,
            first_received_at=int(system["ApproximateFirstReceiveTimestamp"]) / 1_000,
            received_at=now,
            lease_until=now + 60,
        )
        self._channel.settler.in_flight.add([delivery], 0)
        self._channel.deliver(delivery)
        return delivery

    def show_all(self) -> None:
        """Make visible again what was postponed: its time has come."""
        for message, receipt in list(self.receipts.items()):
            try:
                self.sqs.change_message_visibility(
                    QueueUrl=self.url, ReceiptHandle=receipt, VisibilityTimeout=0
                )
            except self.sqs.exceptions.ClientError:
                del self.receipts[message]  # it is gone, or somebody received it since

    def close(self) -> None:
        """Close its connections."""
        self._channel.close()
        self._app.close()
        self._former.set_current()
