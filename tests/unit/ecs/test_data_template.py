"""The data layer's and the lanes' templates make what `desired_state` asks for, and no other."""

from __future__ import annotations

from typing import Any

import pytest
from support.templates import ACCOUNT, NAMES, Stack, load

from sealwax.provision import MAX_RECEIVE_COUNT, QueueSpec, TableSpec, desired_state
from sealwax.settings import Lane, Settings

#: What templates set beyond what the settings derive.
EXTRA_QUEUE_PROPERTIES = {
    "QueueName",
    "RedriveAllowPolicy",
    "RedrivePolicy",
    "SqsManagedSseEnabled",
}


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
        assert properties["DeletionProtectionEnabled"] == "true"
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
    """What is one worldwide bears the account's number; the settings are told."""
    (bucket,) = data.of_type("AWS::S3::Bucket").values()
    assert bucket["BucketName"] == f"{settings.bucket_name}-{ACCOUNT}"
    assert data.output("PayloadsBucketName") == bucket["BucketName"]
    told = settings.model_copy(update={"bucket": bucket["BucketName"]})
    assert desired_state(told).buckets == (bucket["BucketName"],)


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


#: Types that hold what nobody can make again.
HOLDING = {
    "AWS::DynamoDB::Table",
    "AWS::KMS::Key",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
    "AWS::SQS::Queue",
}


@pytest.mark.parametrize("template", NAMES)
def test_what_holds_data_outlives_its_stack_but_not_a_first_deployment_that_fails(template):
    """Kept by a roll-back, the names would be taken for the second try."""
    holding = set()
    for logical, resource in load(template)["Resources"].items():
        policy = resource.get("DeletionPolicy")
        assert policy in (None, "RetainExceptOnCreate"), logical
        if resource["Type"] in HOLDING:
            holding.add(resource["Type"])
            assert policy == "RetainExceptOnCreate", logical
            assert resource["UpdateReplacePolicy"] == "Retain", logical
    assert bool(holding) is (template in ("data", "queues", "cluster"))


def test_tables_can_be_deleted_until_the_first_deployment_has_ended_well():
    for parameters, protected in (({}, "true"), ({"DeletionProtection": "false"}, "false")):
        for table in Stack("data", parameters).of_type("AWS::DynamoDB::Table").values():
            assert table["DeletionProtectionEnabled"] == protected


def alarms(**parameters: str) -> dict[str, dict[str, Any]]:
    return Stack("queues", parameters).of_type("AWS::CloudWatch::Alarm")


@pytest.mark.parametrize("fifo", ["false", "true"])
def test_a_dead_letter_that_nobody_collects_is_an_alarm(fifo: str) -> None:
    made = alarms(Fifo=fifo, AlarmTopicArn="arn:aws:sns:x:1:topic")
    old = made["OldDeadLetter"]
    assert old["MetricName"] == "ApproximateAgeOfOldestMessage"
    (dimension,) = old["Dimensions"]
    assert dimension["Value"].endswith("-dlq.fifo" if fifo == "true" else "-dlq")
    assert {tuple(alarm["AlarmActions"]) for alarm in made.values()} == {("arn:aws:sns:x:1:topic",)}
    assert not [alarm for alarm in alarms().values() if alarm.get("AlarmActions")]


def in_alarm(alarm: dict[str, Any], minutes: list[tuple[float | None, float | None]]) -> bool:
    """Evaluate an alarm on counts that a queue has reported: (visible, in flight) a minute."""
    series = {}
    for query in alarm["Metrics"]:
        if "MetricStat" in query:
            name = query["MetricStat"]["Metric"]["MetricName"]
            column = {"ApproximateNumberOfMessagesVisible": 0}.get(name, 1)
            assert query["MetricStat"]["Period"] == 60
            series[query["Id"]] = [minute[column] or 0 for minute in minutes]  # FILL(…, 0)
    (watched,) = [query for query in alarm["Metrics"] if query["ReturnData"]]
    added = watched["Expression"].replace("FILL(", "").replace(", 0)", "").split(" + ")
    sums = [sum(values) for values in zip(*(series[name] for name in added), strict=True)]
    latest = sums[-alarm["EvaluationPeriods"] :]
    return sum(value >= alarm["Threshold"] for value in latest) >= alarm["DatapointsToAlarm"]


def test_a_letter_that_is_received_again_and_again_is_an_alarm_by_count():
    """SQS leaves what was received three times out of the metric of age."""
    stuck = alarms()["StuckDeadLetter"]
    assert stuck["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    queues = {
        query["MetricStat"]["Metric"]["Dimensions"][0]["Value"]
        for query in stuck["Metrics"]
        if "MetricStat" in query
    }
    assert queues == {"sealwax-prod_default-dlq"}
    # Now visible, now in flight, in no pattern: one of the two at every minute.
    always = [(1.0, 0.0) if minute % 3 else (0.0, 1.0) for minute in range(40)]
    assert in_alarm(stuck, always)
    # Letters that are collected within a minute, however many.
    passing = [(50.0, 10.0) if minute % 7 else (0.0, 0.0) for minute in range(40)]
    assert not in_alarm(stuck, passing)
    assert not in_alarm(stuck, [(0.0, 0.0)] * 11 + always[:29])
    assert in_alarm(stuck, [(0.0, 0.0)] * 10 + always[:30])
    assert not in_alarm(stuck, [(None, None)] * 40)


@pytest.mark.parametrize("fifo", ["false", "true"])
def test_a_dead_letter_queue_serves_its_own_queue_alone(fifo: str) -> None:
    stack = Stack("queues", {"Fifo": fifo})
    allowed = stack.resources["DeadLetterQueue"]["Properties"]["RedriveAllowPolicy"]
    assert allowed == {
        "redrivePermission": "byQueue",
        "sourceQueueArns": [stack.output("QueueArn")],
    }
