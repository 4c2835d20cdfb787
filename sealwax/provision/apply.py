"""Making what is missing in AWS and correcting what differs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sealwax.aws.backoff import backoff
from sealwax.aws.clients import Aws
from sealwax.errors import SealwaxError
from sealwax.provision.desired import (
    MAX_RECEIVE_COUNT,
    IndexSpec,
    KeySpec,
    QueueSpec,
    TableSpec,
    desired_state,
)
from sealwax.provision.observed import (
    bucket_exists,
    describe_table,
    key_state,
    missing_indexes,
    queue_attributes,
    queue_url,
    same_attribute,
    schema_problem,
    ttl_attribute,
)
from sealwax.settings import Settings

__all__ = ["ProvisionError", "ProvisionReport", "provision"]

#: How long a new table or index may take to become active, in seconds.
TABLE_WAIT_SECONDS = 120.0


class ProvisionError(SealwaxError):
    """A resource exists but cannot be corrected in place; the message names it and the remedy."""


@dataclass
class ProvisionReport:
    """What `provision` did, by resource name."""

    created: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)


def provision(
    settings: Settings, aws: Aws, *, sleep: Callable[[float], None] = time.sleep
) -> ProvisionReport:
    """Make what is missing and correct what differs; safe to repeat at any time.

    Parameters
    ----------
    settings
        Names and lanes.
    aws
        Clients; their identity must be allowed to create queues, tables, keys.
    sleep
        Waits between looks at a table that is not active yet.

    Raises
    ------
    ProvisionError
        Where an existing table has other keys, or an index does not become
        active in time.
    """
    state = desired_state(settings)
    report = ProvisionReport()
    for queue in state.queues:
        _provision_queue(queue, aws.client("sqs"), report)
    for table in state.tables:
        _provision_table(table, aws.client("dynamodb"), report, sleep)
    for key in state.keys:
        _provision_key(key, aws.client("kms"), report)
    for bucket in state.buckets:
        _provision_bucket(bucket, aws, report)
    return report


def _wanted_attributes(spec: QueueSpec, dead_letter_arn: str | None) -> dict[str, str]:
    wanted = dict(spec.attributes)
    if dead_letter_arn:
        wanted["RedrivePolicy"] = json.dumps(
            {"deadLetterTargetArn": dead_letter_arn, "maxReceiveCount": MAX_RECEIVE_COUNT}
        )
    return wanted


def _provision_queue(spec: QueueSpec, sqs: Any, report: ProvisionReport) -> None:
    dead_letter_arn = None
    if spec.dead_letter_queue:
        dead_url = queue_url(sqs, spec.dead_letter_queue)
        if dead_url is None:  # made just before, from the same state
            raise ProvisionError(f"Queue {spec.dead_letter_queue} vanished; run it again.")
        dead_letter_arn = queue_attributes(sqs, dead_url)["QueueArn"]
    wanted = _wanted_attributes(spec, dead_letter_arn)
    url = queue_url(sqs, spec.name)
    if url is None:
        sqs.create_queue(QueueName=spec.name, Attributes=wanted)
        report.created.append(spec.name)
        return
    found = queue_attributes(sqs, url)
    differing = {
        name: value
        for name, value in wanted.items()
        if not same_attribute(name, value, found.get(name))
    }
    if not differing:
        report.unchanged.append(spec.name)
        return
    sqs.set_queue_attributes(QueueUrl=url, Attributes=differing)
    report.changed.append(spec.name)


def _key_schema(keys: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [
        {"AttributeName": name, "KeyType": kind}
        for (name, _), kind in zip(keys, ("HASH", "RANGE"), strict=False)
    ]


def _attribute_definitions(spec: TableSpec) -> list[dict[str, str]]:
    kinds = dict(spec.keys)
    for index in spec.indexes:
        kinds.update(index.keys)
    return [{"AttributeName": name, "AttributeType": kind} for name, kind in kinds.items()]


def _index_request(index: IndexSpec) -> dict[str, Any]:
    return {
        "IndexName": index.name,
        "KeySchema": _key_schema(index.keys),
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }


def _provision_table(
    spec: TableSpec, dynamodb: Any, report: ProvisionReport, sleep: Callable[[float], None]
) -> None:
    found = describe_table(dynamodb, spec.name)
    changed = False
    if found is None:
        request: dict[str, Any] = {
            "TableName": spec.name,
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": _key_schema(spec.keys),
            "AttributeDefinitions": _attribute_definitions(spec),
        }
        if spec.indexes:
            request["GlobalSecondaryIndexes"] = [_index_request(item) for item in spec.indexes]
        dynamodb.create_table(**request)
        _wait_active(dynamodb, spec.name, sleep)
    else:
        problem = schema_problem(spec, found)
        if problem:
            raise ProvisionError(
                f"Table {spec.name} cannot be used: {problem}. Keys cannot be changed in place; "
                "move the data and delete the table, or use another environment name."
            )
        _wait_active(dynamodb, spec.name, sleep)
        for index in missing_indexes(spec, found):  # DynamoDB makes one index at a time
            dynamodb.update_table(
                TableName=spec.name,
                AttributeDefinitions=_attribute_definitions(spec),
                GlobalSecondaryIndexUpdates=[{"Create": _index_request(index)}],
            )
            _wait_active(dynamodb, spec.name, sleep)
            changed = True
    if spec.ttl and ttl_attribute(dynamodb, spec.name) != spec.ttl:
        dynamodb.update_time_to_live(
            TableName=spec.name,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": spec.ttl},
        )
        changed = True
    if found is None:
        report.created.append(spec.name)
    else:
        (report.changed if changed else report.unchanged).append(spec.name)


def _wait_active(dynamodb: Any, name: str, sleep: Callable[[float], None]) -> None:
    asked, waited = 0, 0.0
    while waited < TABLE_WAIT_SECONDS:
        found = describe_table(dynamodb, name)
        if found and found["TableStatus"] == "ACTIVE":
            indexes = found.get("GlobalSecondaryIndexes") or []
            if all(item.get("IndexStatus", "ACTIVE") == "ACTIVE" for item in indexes):
                return
        pause = backoff(asked, base=0.05, cap=2.0)
        sleep(pause)
        asked, waited = asked + 1, waited + pause
    raise ProvisionError(
        f"Table {name} is not active after {TABLE_WAIT_SECONDS:.0f} s; run it again later."
    )


def _provision_key(spec: KeySpec, kms: Any, report: ProvisionReport) -> None:
    if key_state(kms, spec.alias) is not None:
        report.unchanged.append(spec.alias)
        return
    made = kms.create_key(Description=spec.description, KeyUsage="ENCRYPT_DECRYPT")
    kms.create_alias(AliasName=spec.alias, TargetKeyId=made["KeyMetadata"]["KeyId"])
    report.created.append(spec.alias)


def _provision_bucket(name: str, aws: Aws, report: ProvisionReport) -> None:
    s3: Any = aws.client("s3")
    if bucket_exists(s3, name):
        report.unchanged.append(name)
        return
    # us-east-1 is S3's default and may not be named.
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucketConfiguration.html
    place = (
        {}
        if aws.region == "us-east-1"
        else {"CreateBucketConfiguration": {"LocationConstraint": aws.region}}
    )
    s3.create_bucket(Bucket=name, **place)
    s3.put_public_access_block(
        Bucket=name,
        PublicAccessBlockConfiguration=dict.fromkeys(
            ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"),
            True,
        ),
    )
    report.created.append(name)
