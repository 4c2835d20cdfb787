"""Many tasks sent together: calls of ten, and each task's fate told on its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery, chain, group
from celery.signals import before_task_publish
from kombu.exceptions import EncodeError
from support.sqs_lab import VARIABLES, Lab
from support.waiting import wait_for

import sealwax.transport  # noqa: F401 - registers the broker's name
from sealwax.transport.bulk import send_tasks
from sealwax.transport.errors import MessageTooLarge, QueueNotFound


@pytest.fixture
def app(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", lab.url)
    made = Celery("bulk", broker="sealwax://", set_as_current=False)
    made.conf.task_default_queue = lab.queue
    made.conf.broker_transport_options = {"message_bytes": 4_096}
    yield made
    made.close()


def test_tasks_share_calls_and_each_ones_fate_is_told(app: Celery, lab: Lab) -> None:
    signatures = [app.signature("add", (n, "x" * (5_000 if n == 3 else 1))) for n in range(25)]
    signatures.append(app.signature("add", (25,), queue="nowhere"))
    fates = send_tasks(app, signatures)
    assert len({job for job, _ in fates}) == 26
    assert isinstance(fates[3][1], MessageTooLarge)
    assert isinstance(fates[25][1], QueueNotFound)
    sent = {job for n, (job, _) in enumerate(fates) if n not in (3, 25)}
    assert {job for job, error in fates if error is None} == sent

    received: set[str] = set()
    while len(received) < len(sent):
        found = lab.sqs.receive_message(QueueUrl=lab.queue_url, MaxNumberOfMessages=10)
        bodies = [json.loads(each["Body"]) for each in found.get("Messages", [])]
        assert bodies, f"{len(received)} of {len(sent)} are in the queue"
        received |= {body["headers"]["id"] for body in bodies}
    assert received == sent


def test_a_task_keeps_the_id_and_the_queue_it_was_given(app: Celery, lab: Lab) -> None:
    given = app.signature("add", (1,), task_id="mine", queue="nowhere")
    assert send_tasks(app, [given], queue=lab.queue) == [("mine", None)]


WAYS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "headers": {"headers": {"x-mine": 1, "_under": {"a": [1]}}},
    "link": {"link": [{"task": "next", "args": [1], "kwargs": {}, "options": {}}]},
    "link_error": {"link_error": [{"task": "next", "args": [], "kwargs": {}, "options": {}}]},
    "expires": {"expires": datetime(2090, 1, 1, tzinfo=UTC)},
    "eta": {"eta": datetime(2030, 1, 1, tzinfo=UTC)},
    "eta past": {"eta": datetime(2020, 1, 1, tzinfo=UTC)},
    "priority": {"priority": 7},
    "task_id": {"task_id": "named"},
    "stamps": {"stamped_headers": ["s"], "s": "one"},
    "routing_key": {"routing_key": "%QUEUE%", "exchange": ""},
    "queue": {"queue": "%QUEUE%"},
    "group": {"MessageGroupId": "g", "MessageDeduplicationId": "d"},
    "ours": {"sealwax-group": "g", "sealwax-dedup": "d"},
    "attributes": {"message_attributes": {"a": {"DataType": "String", "StringValue": "b"}}},
    "compression": {"compression": "gzip"},
    "shadow": {"shadow": "other", "argsrepr": "()", "ignore_result": True},
    "limits": {"time_limit": 300, "soft_time_limit": 200.5},
    "origin": {"root_id": "root", "parent_id": "parent", "group_id": "g", "group_index": 3},
    "reply_to": {"reply_to": "somewhere", "retries": 2, "correlation_id": "c"},
    "chain": {"chain": [{"task": "next", "args": [], "kwargs": {}, "options": {}}]},
}


def fields(lab: Lab) -> dict[str, Any]:
    """Return the one message of the queue by its fields, without what differs from send to send."""
    found: list[Any] = []
    wait_for(
        lambda: (
            found.extend(
                lab.sqs.receive_message(
                    QueueUrl=lab.queue_url, AttributeNames=["All"], MessageAttributeNames=["All"]
                ).get("Messages", [])
            )
            or found
        )
    )
    (message,) = found
    lab.sqs.delete_message(QueueUrl=lab.queue_url, ReceiptHandle=message["ReceiptHandle"])
    said = json.loads(message["Body"])
    properties = said["properties"]
    own = said["headers"]["id"]
    properties.pop("delivery_tag")
    if "expiration" in properties:  # milliseconds from now
        assert float(properties.pop("expiration")) > 0
    for place, name in ((said["headers"], "id"), (said["headers"], "root_id"),
                        (properties, "correlation_id"), (properties, "reply_to")):  # fmt: skip
        # An id of its own, or the app's own address, as text that says so.
        if place.get(name) == own and own != "named":
            place[name] = "its own id"
    return {"said": said, "attributes": message.get("MessageAttributes")}


@pytest.mark.parametrize("way", WAYS)
def test_a_signature_is_sent_as_apply_async_sends_it(app: Celery, lab: Lab, way: str) -> None:
    def option(value: Any) -> Any:
        return lab.queue if value == "%QUEUE%" else value

    options = {name: option(value) for name, value in WAYS[way].items()}
    signature = app.signature("add", (1,), {"b": 2}).set(**options)
    if way == "eta":  # SQS keeps it for 15 minutes
        one, other = prepared_by(app, signature)
        assert one == other
        return
    signature.apply_async()
    one = fields(lab)
    ((_, error),) = send_tasks(app, [signature])
    assert error is None
    assert fields(lab) == one


def prepared_by(app: Celery, signature: Any) -> list[dict[str, Any]]:
    """Return the messages that both ways prepare, where SQS would keep them."""
    prepared: list[dict[str, Any]] = []

    def keep(headers: Any, properties: Any, **_: Any) -> None:
        prepared.append({"eta": headers["eta"], "names": sorted(headers), "of": sorted(properties)})

    before_task_publish.connect(keep)
    try:
        signature.apply_async()
        send_tasks(app, [signature])
    finally:
        before_task_publish.disconnect(keep)
    return prepared


def test_routes_are_asked_and_canvas_sends_its_first_messages(app: Celery, lab: Lab) -> None:
    app.conf.task_routes = {"elsewhere": {"queue": "nowhere"}}
    elsewhere, pair = app.signature("elsewhere"), group(app.signature("add"), app.signature("add"))
    row = chain(app.signature("add", (1,)), app.signature("add"))
    fates = send_tasks(app, [elsewhere, pair, row])
    assert [type(error) for _, error in fates] == [QueueNotFound, type(None), type(None)]
    assert lab.depth()[0] == 3


def test_what_no_message_can_be_made_of_raises_and_nothing_is_sent(app: Celery, lab: Lab) -> None:
    with pytest.raises(EncodeError):
        send_tasks(app, [app.signature("add", (1,)), app.signature("add", (object(),))])
    assert lab.depth() == (0, 0)
