"""What is there in AWS, read for `provision` and `audit`, and compared with what should be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from sealwax.aws.errors import error_code
from sealwax.provision.desired import IndexSpec, TableSpec

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient
    from types_boto3_kms.client import KMSClient
    from types_boto3_s3.client import S3Client
    from types_boto3_sqs.client import SQSClient

__all__ = [
    "bucket_exists",
    "describe_table",
    "key_state",
    "missing_indexes",
    "queue_attributes",
    "queue_url",
    "same_attribute",
    "schema_problem",
    "ttl_attribute",
]


def queue_url(sqs: SQSClient, name: str) -> str | None:
    """Return a queue's URL, None where there is no such queue."""
    try:
        return str(sqs.get_queue_url(QueueName=name)["QueueUrl"])
    except sqs.exceptions.QueueDoesNotExist:
        return None


def queue_attributes(sqs: SQSClient, url: str) -> dict[str, str]:
    """Return all attributes of a queue."""
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    return {str(name): value for name, value in answer.get("Attributes", {}).items()}


def same_attribute(name: str, wanted: str, found: str | None) -> bool:
    """Return whether a queue's attribute has the wanted value, however AWS writes it."""
    if found is None:
        return False
    if name == "RedrivePolicy":
        # AWS accepts and returns maxReceiveCount as a number or as text.
        first, second = json.loads(wanted), json.loads(found)
        return all(str(first[key]) == str(second.get(key)) for key in first)
    return wanted.lower() == found.lower()


def describe_table(dynamodb: DynamoDBClient, name: str) -> dict[str, Any] | None:
    """Return a table's description, None where there is no such table."""
    try:
        return dict(dynamodb.describe_table(TableName=name)["Table"])
    except dynamodb.exceptions.ResourceNotFoundException:
        return None


def schema_problem(spec: TableSpec, found: dict[str, Any]) -> str | None:
    """Return what is wrong with a table's or its indexes' keys, None where nothing is."""
    kinds = {
        item["AttributeName"]: item["AttributeType"]
        for item in found.get("AttributeDefinitions", [])
    }

    def described(schema: list[dict[str, str]]) -> tuple[tuple[str, str], ...]:
        ordered = sorted(schema, key=lambda item: item["KeyType"])  # HASH before RANGE
        return tuple(
            (item["AttributeName"], kinds.get(item["AttributeName"], "?")) for item in ordered
        )

    if described(found["KeySchema"]) != spec.keys:
        return f"its key is {described(found['KeySchema'])}, not {spec.keys}"
    existing = {item["IndexName"]: item for item in found.get("GlobalSecondaryIndexes") or []}
    for index in spec.indexes:
        if index.name in existing:
            keys = described(existing[index.name]["KeySchema"])
            if keys != index.keys:
                return f"index {index.name} has the keys {keys}, not {index.keys}"
    return None


def missing_indexes(spec: TableSpec, found: dict[str, Any]) -> list[IndexSpec]:
    """Return the indexes that a table should have and has not."""
    existing = {item["IndexName"] for item in found.get("GlobalSecondaryIndexes") or []}
    return [index for index in spec.indexes if index.name not in existing]


def ttl_attribute(dynamodb: DynamoDBClient, name: str) -> str | None:
    """Return the attribute that a table's time to live goes by, None where it is off."""
    answer = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    if answer.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}:
        return str(answer.get("AttributeName"))
    return None


def key_state(kms: KMSClient, alias: str) -> str | None:
    """Return the state of the key behind an alias, None where there is none."""
    try:
        return str(kms.describe_key(KeyId=alias)["KeyMetadata"]["KeyState"])
    except ClientError as error:
        if error_code(error) == "NotFoundException":
            return None
        raise


def bucket_exists(s3: S3Client, name: str) -> bool:
    """Whether a bucket exists and we may see it."""
    try:
        s3.head_bucket(Bucket=name)
    except ClientError as error:
        if error_code(error) in ("404", "NoSuchBucket", "NotFound"):
            return False
        raise
    return True
