"""The data layer's and the lanes' templates make what `desired_state` asks for, and no other."""

from __future__ import annotations

from typing import Any

import pytest
from support.templates import Stack

from sealwax.provision import MAX_RECEIVE_COUNT, QueueSpec, TableSpec, desired_state
from sealwax.settings import Lane, Settings

#: What templates set beyond what the settings derive.
EXTRA_QUEUE_PROPERTIES = {"QueueName", "SqsManagedSseEnabled", "RedrivePolicy"}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    lanes = {"default": {}, "slow": {"lease": 60}, "ordered.fifo": {}}
    return Settings(environment="prod", lanes={k: Lane.model_validate(v) for k, v in lanes.items()})


@pytest.fixture
def data() -> Stack:
    return Stack("data", {})


def lane_stack(lane: str, settings: Settings) -> Stack:
    name, fifo, _ = lane.partition(".fifo")
    return Stack(
        "queues",
        {"Lane": name, "Fifo": "true" if fifo else "false", "Lease": settings.lanes[lane].lease},
    )


def attributes(properties: dict[str, Any]) -> dict[str, str]:
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in properties.items()
        if name not in EXTRA_QUEUE_PROPERTIES
    }


def spec_of(properties: dict[str, Any]) -> QueueSpec:
    redrive = properties.get("RedrivePolicy")
    return QueueSpec(
        properties["QueueName"],
        attributes(properties),
        redrive["deadLetterTargetArn"].rsplit(":", 1)[1] if redrive else None,
    )


@pytest.mark.parametrize("lane", ["default", "slow", "ordered.fifo"])
def test_a_lanes_queues_are_those_of_the_settings(settings, lane):
    stack = lane_stack(lane, settings)
    made = {
        spec_of(properties).name: spec_of(properties)
        for properties in stack.of_type("AWS::SQS::Queue").values()
    }
    wanted = {
        queue.name: queue
        for queue in desired_state(settings).queues
        if queue.name in (settings.queue_name(lane), settings.dead_letter_queue_name(lane))
    }
    assert made == wanted
    redrive = stack.resources["Queue"]["Properties"]["RedrivePolicy"]
    assert redrive["maxReceiveCount"] == MAX_RECEIVE_COUNT


def test_every_queue_has_a_dead_letter_queue_in_the_same_template(settings):
    for lane in settings.lanes:
        queues = lane_stack(lane, settings).of_type("AWS::SQS::Queue")
        names = {properties["QueueName"] for properties in queues.values()}
        targets = {
            properties["QueueName"]: properties["RedrivePolicy"]["deadLetterTargetArn"]
            for properties in queues.values()
            if "RedrivePolicy" in properties
        }
        assert {arn.rsplit(":", 1)[1] for arn in targets.values()} == names - set(targets)
        assert len(names) == 2


def test_queues_refuse_connections_without_tls(settings):
    stack = lane_stack("default", settings)
    policies = stack.of_type("AWS::SQS::QueuePolicy")
    covered = {queue for policy in policies.values() for queue in policy["Queues"]}
    assert len(covered) == 2
    for policy in policies.values():
        (statement,) = policy["PolicyDocument"]["Statement"]
        assert statement["Effect"] == "Deny"
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def keys_of(schema: list[dict[str, str]], kinds: dict[str, str]) -> tuple[tuple[str, str], ...]:
    assert [item["KeyType"] for item in schema] == ["HASH", "RANGE"][: len(schema)]
    return tuple((item["AttributeName"], kinds[item["AttributeName"]]) for item in schema)


def table_spec(properties: dict[str, Any]) -> TableSpec:
    from sealwax.provision import IndexSpec

    kinds = {
        item["AttributeName"]: item["AttributeType"] for item in properties["AttributeDefinitions"]
    }
    indexes = properties.get("GlobalSecondaryIndexes", [])
    assert all(index["Projection"] == {"ProjectionType": "KEYS_ONLY"} for index in indexes)
    ttl = properties.get("TimeToLiveSpecification")
    return TableSpec(
        properties["TableName"],
        keys_of(properties["KeySchema"], kinds),
        tuple(IndexSpec(item["IndexName"], keys_of(item["KeySchema"], kinds)) for item in indexes),
        ttl=ttl["AttributeName"] if ttl and ttl["Enabled"] else None,
    )


def test_tables_are_those_of_the_settings(settings, data):
    made = {table_spec(item) for item in data.of_type("AWS::DynamoDB::Table").values()}
    assert made == set(desired_state(settings).tables)


def test_tables_are_on_demand_and_can_be_restored_and_not_be_deleted(data):
    for properties in data.of_type("AWS::DynamoDB::Table").values():
        assert properties["BillingMode"] == "PAY_PER_REQUEST"
        assert properties["DeletionProtectionEnabled"] is True
        assert properties["PointInTimeRecoverySpecification"] == {
            "PointInTimeRecoveryEnabled": True
        }


def test_keys_are_those_of_the_settings_and_one_for_the_bucket(settings, data):
    keys = data.of_type("AWS::KMS::Key")
    made = {}
    for alias in data.of_type("AWS::KMS::Alias").values():
        logical = alias["TargetKeyId"].rsplit("/", 1)[1]
        made[alias["AliasName"]] = keys[logical]["Description"]
        assert keys[logical]["EnableKeyRotation"] is True
    wanted = {key.alias: key.description for key in desired_state(settings).keys}
    assert made == wanted | {"alias/sealwax-prod-payloads": "Sealwax prod: bucket of big payloads"}
    assert len(keys) == len(made)


def test_the_bucket_is_that_of_the_settings(settings, data):
    (bucket,) = data.of_type("AWS::S3::Bucket").values()
    assert (bucket["BucketName"],) == desired_state(settings).buckets


def test_the_bucket_may_have_another_name_and_says_which():
    stack = Stack("data", {"BucketName": "my-payloads"})
    (bucket,) = stack.of_type("AWS::S3::Bucket").values()
    assert bucket["BucketName"] == "my-payloads"
    assert stack.exports["sealwax-prod-payloads-bucket"] == "my-payloads"


def test_the_bucket_is_private_encrypted_and_takes_tls_only(data):
    (bucket,) = data.of_type("AWS::S3::Bucket").values()
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    (policy,) = data.of_type("AWS::S3::BucketPolicy").values()
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_a_deleted_payload_is_gone_and_live_ones_never_expire(data):
    (bucket,) = data.of_type("AWS::S3::Bucket").values()
    assert "VersioningConfiguration" not in bucket
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert not [name for name in rule if "Expiration" in name]


@pytest.mark.parametrize("template", ["data", "queues"])
def test_nothing_that_holds_data_goes_with_its_stack(template):
    stack = Stack(template, {})
    for logical, resource in stack.resources.items():
        if resource["Type"] in (
            "AWS::DynamoDB::Table",
            "AWS::SQS::Queue",
            "AWS::KMS::Key",
            "AWS::S3::Bucket",
        ):
            assert resource["DeletionPolicy"] == "Retain", logical
            assert resource["UpdateReplacePolicy"] == "Retain", logical


@pytest.mark.parametrize("fifo", ["false", "true"])
def test_a_dead_letter_that_nobody_collects_is_an_alarm(fifo: str) -> None:
    stack = Stack("queues", {"Fifo": fifo, "AlarmTopicArn": "arn:aws:sns:x:1:topic"})
    (alarm,) = stack.of_type("AWS::CloudWatch::Alarm").values()
    assert alarm["MetricName"] == "ApproximateAgeOfOldestMessage"
    (dimension,) = alarm["Dimensions"]
    assert "-dlq" in dimension["Value"]
    assert alarm["AlarmActions"] == ["arn:aws:sns:x:1:topic"]
    (silent,) = Stack("queues", {}).of_type("AWS::CloudWatch::Alarm").values()
    assert not silent.get("AlarmActions")
