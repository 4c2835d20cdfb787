"""Looking at AWS without changing it: what is not as it should be, and the remedy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sealwax.aws.clients import Aws
from sealwax.aws.sqs import queue_of_arn
from sealwax.provision.desired import (
    MAX_RECEIVE_COUNT,
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

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient
    from types_boto3_kms.client import KMSClient
    from types_boto3_s3.client import S3Client
    from types_boto3_sqs.client import SQSClient

__all__ = ["Difference", "audit"]


@dataclass(frozen=True)
class Difference:
    """One line of an audit: a resource, and what is wrong with it (`None`: nothing)."""

    kind: Literal["queue", "dead-letter queue", "table", "key", "bucket"]
    name: str
    problem: str | None = None
    remedy: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the resource is as it should be."""
        return self.problem is None


def audit(settings: Settings, aws: Aws) -> list[Difference]:
    """Compare AWS with `desired_state`; one finding a resource, nothing is changed.

    Errors of AWS other than "not found" (no permission, unreachable) are left
    to the caller.
    """
    state = desired_state(settings)
    return [
        *(_audit_queue(spec, aws.client("sqs")) for spec in state.queues),
        *(_audit_table(spec, aws.client("dynamodb")) for spec in state.tables),
        *(_audit_key(spec, aws.client("kms")) for spec in state.keys),
        *(_audit_bucket(name, aws.client("s3")) for name in state.buckets),
    ]


_MAKE = "deploy the data layer again (locally: `sealwax dev`)"


def _audit_queue(spec: QueueSpec, sqs: SQSClient) -> Difference:
    kind: Literal["queue", "dead-letter queue"] = (
        "queue" if spec.dead_letter_queue else "dead-letter queue"
    )
    url = queue_url(sqs, spec.name)
    if url is None:
        return Difference(kind, spec.name, "it does not exist", _MAKE)
    found = queue_attributes(sqs, url)
    for name, value in spec.attributes.items():
        if not same_attribute(name, value, found.get(name)):
            return Difference(
                kind,
                spec.name,
                f"{name} is {found.get(name, 'not set')}, not {value}",
                f"set {name} of the queue to {value}"
                + (", or the lane's `lease`" if name == "VisibilityTimeout" else ""),
            )
    if spec.dead_letter_queue:
        return _audit_redrive(spec, found)
    return Difference(kind, spec.name)


def _audit_redrive(spec: QueueSpec, found: dict[str, str]) -> Difference:
    policy = json.loads(found.get("RedrivePolicy") or "{}")
    owner, target = queue_of_arn(str(policy.get("deadLetterTargetArn", "")))
    ours, _ = queue_of_arn(found.get("QueueArn", ""))
    if not target:
        problem = "it has no dead-letter queue"
    elif target != spec.dead_letter_queue:
        problem = f"its dead-letter queue is {target}, not {spec.dead_letter_queue}"
    elif ours and owner != ours:
        problem = f"its dead-letter queue is in account {owner}, not in {ours}"
    elif str(policy.get("maxReceiveCount")) != str(MAX_RECEIVE_COUNT):
        problem = f"maxReceiveCount is {policy.get('maxReceiveCount')}, not {MAX_RECEIVE_COUNT}"
    else:
        return Difference("queue", spec.name)
    remedy = (
        f"set its RedrivePolicy to {spec.dead_letter_queue} with maxReceiveCount "
        f"{MAX_RECEIVE_COUNT}; Sealwax dead-letters by itself and keeps SQS's own as a backstop"
    )
    return Difference("queue", spec.name, problem, remedy)


def _audit_table(spec: TableSpec, dynamodb: DynamoDBClient) -> Difference:
    found = describe_table(dynamodb, spec.name)
    if found is None:
        return Difference("table", spec.name, "it does not exist", _MAKE)
    problem = schema_problem(spec, found)
    if problem:
        return Difference("table", spec.name, problem, "use another environment name")
    missing = missing_indexes(spec, found)
    if missing:
        names = ", ".join(index.name for index in missing)
        return Difference("table", spec.name, f"it lacks the index {names}", _MAKE)
    if spec.ttl and ttl_attribute(dynamodb, spec.name) != spec.ttl:
        return Difference(
            "table",
            spec.name,
            f"time to live on `{spec.ttl}` is off, so finished jobs stay for ever",
            f"switch on TTL with the attribute `{spec.ttl}`",
        )
    return Difference("table", spec.name)


def _audit_key(spec: KeySpec, kms: KMSClient) -> Difference:
    state = key_state(kms, spec.alias)
    if state is None:
        return Difference("key", spec.alias, "it does not exist", _MAKE)
    if state != "Enabled":
        return Difference("key", spec.alias, f"its state is {state}", "enable the key in KMS")
    return Difference("key", spec.alias)


def _audit_bucket(name: str, s3: S3Client) -> Difference:
    if bucket_exists(s3, name):
        return Difference("bucket", name)
    remedy = f"{_MAKE}, or set `bucket` to its output PayloadsBucketName"
    return Difference("bucket", name, "it does not exist", remedy)
