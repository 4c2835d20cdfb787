"""What provisioning makes and corrects, on both emulators."""

from __future__ import annotations

import json

import pytest

from sealwax.aws.clients import Aws
from sealwax.provision import ProvisionError, audit, desired_state, provision
from sealwax.settings import Lane, Settings


@pytest.fixture(params=["aws_env", "moto_env"])
def settings(request: pytest.FixtureRequest) -> Settings:
    base: Settings = request.getfixturevalue(request.param)
    lanes = {"default": Lane.model_validate({}), "ordered.fifo": Lane.model_validate({"lease": 45})}
    return base.model_copy(update={"lanes": lanes})


@pytest.fixture
def clients(settings: Settings) -> Aws:
    return Aws()


def everything(settings: Settings) -> list[str]:
    state = desired_state(settings)
    return [
        *(queue.name for queue in state.queues),
        *(table.name for table in state.tables),
        *(key.alias for key in state.keys),
        *state.buckets,
    ]


def queue_url(clients: Aws, name: str) -> str:
    return clients.client("sqs").get_queue_url(QueueName=name)["QueueUrl"]


def problems(settings: Settings, clients: Aws) -> dict[str, str | None]:
    return {item.name: item.problem for item in audit(settings, clients) if not item.ok}


def test_makes_everything_once_and_then_changes_nothing(settings, clients):
    first = provision(settings, clients)
    second = provision(settings, clients)

    assert first.created == everything(settings)
    assert second.created == second.changed == []
    assert second.unchanged == everything(settings)
    assert problems(settings, clients) == {}


def test_corrects_a_wrong_visibility_timeout_that_audit_names(settings, clients):
    provision(settings, clients)
    name = settings.queue_name("default")
    sqs = clients.client("sqs")
    sqs.set_queue_attributes(
        QueueUrl=queue_url(clients, name), Attributes={"VisibilityTimeout": "7"}
    )

    assert problems(settings, clients) == {name: "VisibilityTimeout is 7, not 30"}
    assert provision(settings, clients).changed == [name]
    assert problems(settings, clients) == {}


def test_adds_a_missing_dead_letter_policy_that_audit_names(settings, clients):
    sqs = clients.client("sqs")
    name = settings.queue_name("default")
    url = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "30"})["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"MessageRetentionPeriod": "1209600"})

    assert problems(settings, clients)[name] == "it has no dead-letter queue"
    provision(settings, clients)

    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    policy = json.loads(attributes["RedrivePolicy"])
    assert policy["deadLetterTargetArn"].endswith(settings.dead_letter_queue_name("default"))
    assert int(policy["maxReceiveCount"]) == 1000
    assert problems(settings, clients) == {}


def test_keeps_messages_when_it_corrects_a_queue(settings, clients):
    provision(settings, clients)
    sqs = clients.client("sqs")
    url = queue_url(clients, settings.queue_name("default"))
    sqs.send_message(QueueUrl=url, MessageBody="kept")
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "7"})

    provision(settings, clients)

    messages = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1)["Messages"]
    assert [message["Body"] for message in messages] == ["kept"]


def test_fifo_queues_are_fifo_with_dead_letters_that_are_too(settings, clients):
    provision(settings, clients)
    for name in (
        settings.queue_name("ordered.fifo"),
        settings.dead_letter_queue_name("ordered.fifo"),
    ):
        attributes = clients.client("sqs").get_queue_attributes(
            QueueUrl=queue_url(clients, name), AttributeNames=["All"]
        )["Attributes"]
        assert name.endswith(".fifo")
        assert attributes["FifoQueue"] == "true"
        assert attributes["DeduplicationScope"] == "messageGroup"


def test_adds_a_missing_index_and_time_to_live(settings, clients):
    dynamodb = clients.client("dynamodb")
    dynamodb.create_table(
        TableName=settings.table_name("jobs"),
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    )
    assert "lacks the index" in str(problems(settings, clients)[settings.table_name("jobs")])

    report = provision(settings, clients)

    assert settings.table_name("jobs") in report.changed
    assert problems(settings, clients) == {}


def test_refuses_a_table_with_other_keys(settings, clients):
    clients.client("dynamodb").create_table(
        TableName=settings.table_name("tokens"),
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "other", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "other", "AttributeType": "S"}],
    )
    with pytest.raises(ProvisionError, match=settings.table_name("tokens")):
        provision(settings, clients)
